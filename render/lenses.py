"""Lenses: from ideal to distorted image points and back.

Both sides are image points at unit distance: (x, y) = ((u - cx) / fx, (v - cy) / fy), x to the right and y down,
as in OpenCV. `perspective` and `opencv` follow OpenCV's radial-tangential model, `fisheye` its equidistant one
(Kannala and Brandt 2006).
"""
