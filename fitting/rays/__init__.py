"""Fitting along rays: photographs, batches, the step."""
