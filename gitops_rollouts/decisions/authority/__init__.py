"""Who may let traffic grow (docs/decisions.md §6)."""
