"""Demo: the built-in scenes, drawn by sphere tracing analytic shapes."""
