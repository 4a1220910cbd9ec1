"""Fitting: a source and a spec in, a fitted field out; runs, checkpoints, metrics."""
