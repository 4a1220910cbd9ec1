"""Fit: the optimisation loops, runs, checkpoints and metrics."""
