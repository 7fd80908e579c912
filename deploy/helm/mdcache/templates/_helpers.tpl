{{- /* At most 52 characters: Kubernetes puts a dash and ten more behind a StatefulSet's name, and has labels of 63. */ -}}
{{- define "mdcache.name" -}}
{{- if contains "mdcache" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" }}-mdcache
{{- end -}}
{{- end }}

{{- define "mdcache.selector" -}}
app.kubernetes.io/name: mdcache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mdcache.labels" -}}
{{ include "mdcache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "mdcache.secret" -}}
{{- if .Values.secrets.existing -}}
{{ .Values.secrets.existing }}
{{- else if or .Values.secrets.adminToken .Values.secrets.redisUrl .Values.secrets.httpsProxy -}}
{{ include "mdcache.name" . }}
{{- end -}}
{{- end }}

{{- /* A name in extraEnv replaces the chart's own: one that stood twice would be refused by server-side apply. */ -}}
{{- define "mdcache.env" -}}
{{- $own := list }}
{{- if .Values.egressByNode }}
{{- $own = append $own (dict "name" "MDCACHE_EGRESS" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) }}
{{- end }}
{{- with include "mdcache.secret" . }}
{{- $token := dict "name" . "key" "admin-token" "optional" true }}
{{- $proxy := dict "name" . "key" "https-proxy" "optional" true }}
{{- $own = append $own (dict "name" "MDCACHE_ADMIN_TOKEN" "valueFrom" (dict "secretKeyRef" $token)) }}
{{- $own = append $own (dict "name" "HTTPS_PROXY" "valueFrom" (dict "secretKeyRef" $proxy)) }}
{{- if $.Values.redis.enabled }}
{{- $own = append $own (dict "name" "MDCACHE_REDIS_URL" "valueFrom" (dict "secretKeyRef" (dict "name" . "key" "redis-url"))) }}
{{- end }}
{{- end }}
{{- if or .Values.certificates.configMap .Values.certificates.secret }}
{{- $own = append $own (dict "name" "SSL_CERT_FILE" "value" (printf "/etc/mdcache/certificates/%s" .Values.certificates.key)) }}
{{- end }}
{{- $given := list }}{{ range .Values.extraEnv }}{{ $given = append $given .name }}{{ end }}
{{- $all := list }}{{ range $own }}{{ if not (has .name $given) }}{{ $all = append $all . }}{{ end }}{{ end }}
{{- with concat $all .Values.extraEnv }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "mdcache.volumes" -}}
{{- if not .Values.persistence.enabled }}
- name: state
  emptyDir: {}
{{- end }}
{{- with .Values.certificates.configMap }}
- name: certificates
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.certificates.secret }}
- name: certificates
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}

{{- /* MEMORY_MAX_MB bounds what is cached; the rest is the process itself, requests, and what is being written. */ -}}
{{- define "mdcache.resources" -}}
{{- $cached := int (default 512 .Values.settings.MEMORY_MAX_MB) -}}
{{- $requests := dict "memory" (printf "%dMi" (add $cached 256)) -}}
{{- $limits := dict "memory" (printf "%dMi" (add (div (mul $cached 3) 2) 256)) -}}
{{- toYaml (mustMergeOverwrite (dict "requests" $requests "limits" $limits) (deepCopy .Values.resources)) -}}
{{- end }}

{{- define "mdcache.affinity" -}}
{{- if .Values.affinity -}}
{{ toYaml .Values.affinity }}
{{- else if and (gt (int .Values.replicas) 1) (ne .Values.antiAffinity "none") -}}
podAntiAffinity:
  {{- if eq .Values.antiAffinity "required" }}
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels: {{- include "mdcache.selector" . | nindent 10 }}
  {{- else }}
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "mdcache.selector" . | nindent 12 }}
  {{- end }}
{{- end -}}
{{- end }}

{{- /* Whether one of these peers may be outside of this namespace. */ -}}
{{- define "mdcache.elsewhere" -}}
{{- range . }}{{ if or (hasKey . "namespaceSelector") (hasKey . "ipBlock") }}yes{{ end }}{{ end -}}
{{- end }}
