"""Runs: folders, checkpoints, configuration, the loop and its interruption."""
