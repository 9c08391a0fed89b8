"""What the first-parent chain tells: intents, lines that came and went, decisions (docs/decisions.md §1.1)."""
