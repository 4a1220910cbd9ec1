"""Files: atomic writes, strict JSON, tensors with a checksum, and locks."""
