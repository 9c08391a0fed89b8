"""Istio: weights and managed routes of VirtualServices, subsets of a DestinationRule (docs/behaviour.md §15.3)."""
