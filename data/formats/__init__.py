"""Readers of mesh and cloud files, a format each: bytes to arrays, or `Malformed`, or `Truncated`."""
