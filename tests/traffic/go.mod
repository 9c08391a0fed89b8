// The modules whose CustomResourceDefinitions tests/traffic/crds.py installs. No Go code is here, so `go mod tidy`
// would empty this file; `go mod download <module>@<version>` adds the lines to go.sum.
module gitops-rollouts.io/tests/traffic

go 1.26.0

require (
	github.com/servicemeshinterface/smi-sdk-go v0.5.0
	github.com/traefik/traefik/v3 v3.7.13
	istio.io/api v1.31.1
	sigs.k8s.io/gateway-api v1.5.1
)
