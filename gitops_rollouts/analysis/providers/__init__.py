"""One module a provider of metrics (docs/behaviour.md §18)."""
