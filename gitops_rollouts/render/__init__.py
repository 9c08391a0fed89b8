"""A tree of Git objects → Kubernetes objects: plain YAML, kustomize, the decision overlay. No cluster, no work tree."""
