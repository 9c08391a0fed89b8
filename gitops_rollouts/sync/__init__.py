"""Git → cluster: when to look, what to apply, what to prune, and what to tell people about it."""
