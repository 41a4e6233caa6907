{{- define "s3redirect.app" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- define "s3redirect.name" -}}
{{- $app := include "s3redirect.app" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains $app .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $app | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "s3redirect.selector" -}}
app.kubernetes.io/name: {{ include "s3redirect.app" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "s3redirect.labels" -}}
{{ include "s3redirect.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "s3redirect.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "s3redirect.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- /* The Secret that has the administrators' token, or "" if config.admin.token is the operator's or there is none. */}}
{{- define "s3redirect.adminToken" -}}
{{- if dig "admin" "token" "" .Values.config }}
{{- else if .Values.adminToken.existingSecret }}{{ .Values.adminToken.existingSecret }}
{{- else if .Values.adminToken.create }}{{ include "s3redirect.name" . | trunc 57 }}-admin
{{- end }}
{{- end }}

{{/* Whether there are ConfigMaps or Secrets with more integrations; "" if not. */}}
{{- define "s3redirect.included" -}}
{{- with .Values.included }}{{ if or .configMaps .secrets }}yes{{ end }}{{ end }}
{{- end }}

{{- define "s3redirect.image" -}}
{{- $tag := .Values.image.tag }}
{{- if not (or $tag .Values.image.digest) }}{{ $tag = .Chart.AppVersion }}{{ end }}
{{- .Values.image.repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- /* config.drain_delay in seconds, rounded up. */}}
{{- define "s3redirect.drainSeconds" -}}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9]*[.]?[0-9]+(h|ms|us|µs|ns|m|s)" (toString (default "0s" .Values.config.drain_delay)) -1 }}
{{- $unit := regexFind "[a-zµ]+$" . }}
{{- $factor := get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001) $unit }}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit . | float64) $factor) }}
{{- end }}
{{- ceil $seconds }}
{{- end }}

{{- /* How many MiB a process takes with the URL cache of config.cache.urls, whose entries have about 70 bytes. */}}
{{- define "s3redirect.memory" -}}
{{- $urls := dig "cache" "urls" 65536 .Values.config | int64 }}
{{- add 60 (div (add (mul $urls 70) 1048575) 1048576) }}
{{- end }}

{{- /* The container's resources. Memory that is not set follows from config.cache.urls. */}}
{{- define "s3redirect.resources" -}}
{{- $memory := include "s3redirect.memory" . | int64 }}
{{- $default := dict "requests" (dict "memory" (printf "%dMi" $memory)) "limits" (dict "memory" (printf "%dMi" (add $memory 192))) }}
{{- toYaml (mergeOverwrite $default (deepCopy .Values.resources)) }}
{{- end }}

{{- /* The least number of pods. */}}
{{- define "s3redirect.minReplicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{- /* The IP families of a service, unless the cluster chooses them. */}}
{{- define "s3redirect.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What the containers of a pod have in common. */}}
{{- define "s3redirect.container" -}}
image: {{ include "s3redirect.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- $token := include "s3redirect.adminToken" . }}
{{- if or $token .Values.env }}
env:
  {{- range .Values.env }}
  {{- if and $token (eq .name "ADMIN_TOKEN") }}
  {{- fail "env: ADMIN_TOKEN comes from adminToken: use adminToken.existingSecret, or set adminToken.create to false" }}
  {{- end }}
  - {{ toJson . }}
  {{- end }}
  {{- if $token }}
  - {name: ADMIN_TOKEN, valueFrom: {secretKeyRef: {name: {{ $token | quote }}, key: {{ .Values.adminToken.key | quote }}}}}
  {{- end }}
{{- end }}
{{- with .Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
resources: {{- include "s3redirect.resources" . | nindent 2 }}
volumeMounts:
  # The whole folder: a file mounted by itself (subPath) would never change.
  - {name: config, mountPath: /etc/s3redirect, readOnly: true}
  {{- if include "s3redirect.included" . }}
  - {name: integrations, mountPath: /etc/s3redirect-integrations.d, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
