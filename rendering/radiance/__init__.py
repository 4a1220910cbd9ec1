"""Rendering of radiance fields: sampling, occupancy, volume rendering."""
