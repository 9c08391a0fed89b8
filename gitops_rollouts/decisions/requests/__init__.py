"""What waits for a merge, as branches (docs/decisions.md §2)."""
