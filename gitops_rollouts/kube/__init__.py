"""The Kubernetes API: client, discovery, informer cache, leader election, events."""
