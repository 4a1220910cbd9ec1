"""Apps: the `polyfield` command. It parses options, calls the API and prints; it contains no algorithms."""
