"""Lines and images into files: byte splices, and no other byte (docs/decisions.md §1.3)."""
