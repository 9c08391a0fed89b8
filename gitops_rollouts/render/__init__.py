"""A tree of Git objects → Kubernetes objects: plain YAML, kustomize, Helm, the overlay. No cluster, no work tree."""
