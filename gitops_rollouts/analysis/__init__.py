"""Metrics: the language of conditions, the providers of values, and how a value is judged."""
