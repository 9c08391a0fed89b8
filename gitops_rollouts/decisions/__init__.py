"""A decision ↔ an annotation line in Git: identity, grammar, byte-exact splice, reading, batching writer, requests."""
