//go:build tools

// Package kubernetes pins the control plane that the tests run against. Nothing here is compiled into Fairway:
// `tests/run` builds the four commands below once, into a cache outside the repository.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
