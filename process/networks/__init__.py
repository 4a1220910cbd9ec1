"""Networks that take fitted tri-planes, or what they are compared with, as their input."""
