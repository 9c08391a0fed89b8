"""The commands of ``gor``: one module a command, nothing heavy imported before a command runs."""
