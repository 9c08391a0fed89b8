"""Forges: pull requests, approvals and commit statuses, behind one small interface (docs/decisions.md §2)."""
