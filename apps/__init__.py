"""Apps: the `polyfield` command. It parses, calls and shows; no algorithm lives here."""
