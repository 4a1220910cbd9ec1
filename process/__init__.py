"""Processing: banks of fields, and networks that take fitted fields as their input."""
