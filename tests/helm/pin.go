//go:build pin

// Package helm pins the helm that the tests run.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
