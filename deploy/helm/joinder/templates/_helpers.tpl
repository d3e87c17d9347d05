{{- define "joinder.name" -}}
{{- if contains "joinder" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-joinder" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "joinder.selector" -}}
app.kubernetes.io/name: joinder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "joinder.labels" -}}
{{ include "joinder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "joinder.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "joinder.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* One kind of process as a StatefulSet: each pod keeps the disk of its journal. Takes root, kind, values and args. */}}
{{- define "joinder.processes" -}}
{{- $root := .root }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "joinder.name" $root }}-{{ .kind }}
  labels:
    {{- include "joinder.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .kind }}
spec:
  replicas: {{ .values.replicas }}
  serviceName: {{ include "joinder.name" $root }}-pods
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "joinder.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .kind }}
  template:
    metadata:
      labels:
        {{- include "joinder.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .kind }}
      annotations:
        checksum/settings: {{ include "joinder.settings" $root | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      automountServiceAccountToken: false
      serviceAccountName: {{ include "joinder.name" $root }}
      terminationGracePeriodSeconds: 90
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      initContainers:
        # Joinder refuses a key that a group may read, as a mounted secret's may be: its own copy, in memory.
        - name: key
          image: {{ include "joinder.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [install, --mode=0400, /secret/joinder.key, /key/joinder.key]
          securityContext: {{- include "joinder.container" $root | nindent 12 }}
          resources:
            requests: {cpu: 10m, memory: 16Mi}
            limits: {memory: 64Mi}
          volumeMounts:
            - {name: secret, mountPath: /secret, readOnly: true}
            - {name: key, mountPath: /key}
      containers:
        - name: joinder
          image: {{ include "joinder.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toJson .args }}
          env:
            - {name: JOINDER_CONFIG, value: /etc/joinder/joinder.toml}
          ports:
            {{- if eq .kind "server" }}
            - {name: http, containerPort: 8080}
            {{- end }}
            - {name: metrics, containerPort: 9464}
          startupProbe:
            httpGet: {path: /health/live, port: metrics}
            periodSeconds: 2
            failureThreshold: 150
          livenessProbe:
            httpGet: {path: /health/live, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          {{- if eq .kind "server" }}
          readinessProbe:
            httpGet: {path: /health/ready, port: http}
            periodSeconds: 5
            timeoutSeconds: 4
          {{- end }}
          securityContext: {{- include "joinder.container" $root | nindent 12 }}
          resources: {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {name: settings, mountPath: /etc/joinder, readOnly: true}
            - {name: secret, mountPath: /run/secrets/joinder, readOnly: true}
            - {name: key, mountPath: /run/joinder, readOnly: true}
            - {name: journal, mountPath: /var/lib/joinder}
            - {name: tmp, mountPath: /tmp}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "joinder.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .kind }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      volumes:
        - name: settings
          configMap: {name: {{ include "joinder.name" $root }}}
        - name: secret
          secret: {secretName: {{ $root.Values.existingSecret }}, defaultMode: 0440}
        - name: key
          emptyDir: {medium: Memory, sizeLimit: 1Mi}
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
  volumeClaimTemplates:
    - metadata: {name: journal}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $root.Values.journal.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ $root.Values.journal.size }}}
{{- end }}

{{/* joinder.toml; what the chart itself decides cannot be set otherwise. */}}
{{- define "joinder.settings" -}}
{{- $own := dict
      "public_url" .Values.publicUrl
      "key_file" "/run/joinder/joinder.key"
      "database_url_file" "/run/secrets/joinder/database-url"
      "metrics_token_file" "/run/secrets/joinder/metrics-token"
      "metrics_host" "0.0.0.0"
      "metrics_port" "9464"
      "journal_folder" "/var/lib/joinder/journal" }}
{{- toToml (merge $own .Values.settings) }}
{{- end }}
