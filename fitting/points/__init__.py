"""Fitting to values at points."""
