"""Render: cameras, rays, occupancy, sampling, compositing and surfaces: fields -> pictures and geometry."""
