"""Step plugins and router plugins: found by entry point, run in processes of their own (docs/plugins.md)."""
