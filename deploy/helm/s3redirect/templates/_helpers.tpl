{{- define "s3redirect.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "s3redirect.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
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
