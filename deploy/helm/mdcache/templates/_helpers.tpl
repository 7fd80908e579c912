{{- define "mdcache.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- if not (contains "mdcache" .Release.Name) }}-mdcache{{ end -}}
{{- end }}

{{- define "mdcache.selector" -}}
app.kubernetes.io/name: mdcache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mdcache.labels" -}}
{{ include "mdcache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mdcache.secret" -}}
{{- if .Values.secrets.existing -}}
{{ .Values.secrets.existing }}
{{- else if or .Values.secrets.adminToken .Values.secrets.redisUrl -}}
{{ include "mdcache.name" . }}
{{- end -}}
{{- end }}
