"""What the engine wants in Git, and the lines that say so (docs/decisions.md §2, §4)."""
