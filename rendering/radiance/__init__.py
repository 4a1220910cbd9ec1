"""Radiance fields in pictures: sampling, occupancy, volume rendering."""
