"""Files: whole or not there, JSON without surprises, tensors under a checksum, one process at a time."""
