"""The one writer of a branch: rounds that fetch, plan, commit and push (docs/decisions.md §2)."""
