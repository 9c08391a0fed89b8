"""The vocabulary: models of every kind, the rules of docs/behaviour.md §20, hashes, and generated CRDs."""
