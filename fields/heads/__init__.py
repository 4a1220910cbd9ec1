"""Heads: fields of an encoding and a trunk, one for each kind of value."""
