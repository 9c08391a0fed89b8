"""Istio: weights in VirtualServices, versions as subsets of a DestinationRule (docs/behaviour.md §15.3)."""
