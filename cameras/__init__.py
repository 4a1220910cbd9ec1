"""Cameras: poses, lenses and rays, and paths of them."""
