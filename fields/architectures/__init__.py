"""Architectures: how a field's values are stored, a file each."""
