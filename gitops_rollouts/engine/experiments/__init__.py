"""The pure rules of Experiments (docs/behaviour.md §19)."""
