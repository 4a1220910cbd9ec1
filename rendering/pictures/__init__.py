"""Flat pictures: images, sections, volumes, depth."""
