"""What the forge is told beside Git: pull requests and commit statuses (docs/decisions.md §2, §7)."""
