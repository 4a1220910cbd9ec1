"""Heads: what stands behind an encoding, for each kind of signal."""
