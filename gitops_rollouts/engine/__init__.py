"""Decides. Pure: no I/O, no clock; what it was told in, what to do out. Imports the API's vocabulary only."""
