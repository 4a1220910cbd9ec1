"""Metrics of pictures, views and surfaces."""
