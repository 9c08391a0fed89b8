"""What Git says at one commit of a target and of its neighbours (docs/decisions.md §1)."""
