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

{{/* What the operator does itself, and what it passes on to the pods: a Role can only be made by who has all of it. */}}
{{- define "operator.rules" -}}
- apiGroups: [gamecluster.dev]
  resources: [gameclusters]
  verbs: [get, list, watch]
- apiGroups: [gamecluster.dev]
  resources: [gameclusters/status]
  verbs: [get, patch]
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
  resources: [secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch]
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
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
