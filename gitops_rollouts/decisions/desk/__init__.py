"""Where a person's decisions become commits (docs/decisions.md §7)."""
