"""Rendering: fields -> pictures and geometry, by volume rendering, slices and surfaces."""
