//go:build pin

// Package gitea pins the Gitea that the tests run.
package gitea

import _ "code.gitea.io/gitea"
