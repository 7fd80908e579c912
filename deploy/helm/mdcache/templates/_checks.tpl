{{- /* What would be installed and then not work. */ -}}
{{- define "mdcache.checks" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.redis.enabled) }}
{{- fail "replicas > 1 needs redis.enabled: without Redis each replica would spend the whole share, and their bans would be the address's" }}
{{- end }}
{{- if and .Values.redis.enabled (not .Values.secrets.existing) (not .Values.secrets.redisUrl) }}
{{- fail "redis.enabled needs secrets.redisUrl, or secrets.existing with the key redis-url" }}
{{- end }}
{{- if and .Values.certificates.configMap .Values.certificates.secret }}
{{- fail "certificates are in a ConfigMap or in a Secret: name one" }}
{{- end }}
{{- if $policy.enabled }}
{{- if and .Values.serviceMonitor.enabled (not $policy.monitoring) (not (include "mdcache.elsewhere" $policy.from)) }}
{{- fail "serviceMonitor.enabled: the NetworkPolicy would block Prometheus. Say in networkPolicy.monitoring where it is, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], or [{podSelector: {}}] if it is in this namespace" }}
{{- end }}
{{- if and .Values.ingress.enabled (not (include "mdcache.elsewhere" $policy.from)) }}
{{- fail "ingress.enabled: the NetworkPolicy would block the Ingress controller. Say in networkPolicy.from where it is, beside those who may ask already" }}
{{- end }}
{{- if and (ne .Values.service.type "ClusterIP") (not (include "mdcache.elsewhere" $policy.from)) }}
{{- fail (printf "service.type %s: the NetworkPolicy would block everybody outside of the namespace. Say in networkPolicy.from who may ask, such as [{ipBlock: {cidr: 10.0.0.0/8}}]" .Values.service.type) }}
{{- end }}
{{- range $name, $url := merge (dict "secrets.httpsProxy" .Values.secrets.httpsProxy) (pick .Values.settings "SPOT_URL" "USDM_URL" "COINM_URL") }}
{{- $proxied := and (hasSuffix "_URL" $name) (hasPrefix "https:" $url) (or $.Values.secrets.httpsProxy $.Values.secrets.existing) }}
{{- if and $url (not $proxied) }}
{{- $port := include "mdcache.port" $url | int }}
{{- if not (include "mdcache.open" (dict "port" $port "ports" $policy.upstreamPorts)) }}
{{- fail (printf "%s: the NetworkPolicy would block port %d. Put it into networkPolicy.upstreamPorts" $name $port) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.redis.enabled .Values.secrets.redisUrl }}
{{- $sentinel := hasPrefix "redis+sentinel:" .Values.secrets.redisUrl }}
{{- $hosts := regexReplaceAll "^([^?]*@|[a-z+]+://)([^/?]*).*$" .Values.secrets.redisUrl "$2" }}
{{- range splitList "," $hosts }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" .) | default (ternary "26379" "6379" $sentinel) | int }}
{{- if not (include "mdcache.open" (dict "port" $port "ports" $.Values.redis.ports)) }}
{{- fail (printf "secrets.redisUrl: the NetworkPolicy would block port %d. Put it into redis.ports" $port) }}
{{- end }}
{{- end }}
{{- if and $sentinel (lt (len .Values.redis.ports) 2) }}
{{- fail "redis.ports: beside that of the Sentinels, name the port of the servers that they tell of, such as 6379" }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.persistence.enabled }}
{{- $mebibytes := dict "Mi" 1 "Gi" 1024 "Ti" 1048576 }}
{{- $size := mul (regexFind "^[0-9]+" .Values.persistence.size | int64) (get $mebibytes (regexFind "[A-Z]i$" .Values.persistence.size)) }}
{{- if lt $size (div (mul (int64 (default 2048 .Values.settings.DISK_MAX_MB)) 5) 4) }}
{{- fail "persistence.size: must be a quarter more than settings.DISK_MAX_MB, at least" }}
{{- end }}
{{- end }}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) (addf (float64 (default 10 .Values.settings.SHUTDOWN_GRACE_S)) 10) }}
{{- fail "terminationGracePeriodSeconds: must be 10 s more than settings.SHUTDOWN_GRACE_S, at least: 5 s pass before the daemon is told to stop" }}
{{- end }}
{{- end }}

{{- /* The port of an HTTP URL, and whether a port is in a list. */ -}}
{{- define "mdcache.port" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{- define "mdcache.open" -}}
{{- $port := .port }}{{ range .ports }}{{ if eq (int .) (int $port) }}yes{{ end }}{{ end -}}
{{- end }}
