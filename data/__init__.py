"""Data: files -> sources, and the built-in demo scenes."""
