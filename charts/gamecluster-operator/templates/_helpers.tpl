{{- define "operator.name" -}}
{{- $name := printf "%s-operator" (.Release.Name | trimSuffix "-operator") -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: gamecluster-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: operator
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Namespaces whose pods may look at the operator's figures and at the games' admin ports. */}}
{{- define "operator.adminNamespaces" -}}
{{ prepend .Values.monitoring.namespaces .Release.Namespace | uniq | join "," }}
{{- end }}

{{/* As Pod Security's "restricted" wants it. */}}
{{- define "operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What the operator does itself, and what it passes on to the pods: a Role can only be made by who has all of it. */}}
{{- define "operator.rules" -}}
- apiGroups: [gamecluster.dev]
  resources: [gameclusters]
  verbs: [get, list, watch]
- apiGroups: [gamecluster.dev]
  resources: [gameclusters/status]
  verbs: [patch]
- apiGroups: [gamecluster.dev]
  resources: [gameclusters/finalizers] # to own objects where OwnerReferencesPermissionEnforcement is on
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  # delete: OwnerReferencesPermissionEnforcement wants it of who becomes the owner of what is there, a Secret from a backup
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, create, patch, delete]
- apiGroups: [cloud.google.com]
  resources: [backendconfigs] # time-outs of an Ingress of the class gce
  verbs: [get, list, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
