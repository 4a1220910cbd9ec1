"""Export: pictures and videos as files that other tools read."""
