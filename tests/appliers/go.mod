// The modules whose CustomResourceDefinitions tests/applier_kinds.py reads. No Go code is here, so `go mod tidy` would
// empty this file; `go mod download <module>@<version>` adds the lines to go.sum.
module gitops-rollouts.io/tests/appliers

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.5.7
	github.com/fluxcd/kustomize-controller v1.9.6
	github.com/fluxcd/source-controller v1.9.6
)
