"""Blue-green: two full sizes and one Service that moves between them (docs/behaviour.md §10)."""
