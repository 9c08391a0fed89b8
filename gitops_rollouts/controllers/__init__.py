"""Cluster → engine → cluster: observe, call the engine, carry out what it decided."""
