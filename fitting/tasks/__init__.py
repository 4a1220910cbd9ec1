"""Tasks: a file for each kind of source."""
