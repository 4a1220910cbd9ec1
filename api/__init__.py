"""API: what `import polyfield` offers, and what the command calls."""
