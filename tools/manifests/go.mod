// Custom resource definitions that are installed without their controllers: read from these modules, never built.
module falaj/tools/manifests

go 1.24.0

require (
	github.com/aws/karpenter-provider-aws v1.14.1
	github.com/cert-manager/cert-manager v1.21.2
	github.com/kubeflow/trainer/v2 v2.0.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
