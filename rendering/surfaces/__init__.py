"""Surfaces of distances and occupancy: tracing, shading, meshing."""
