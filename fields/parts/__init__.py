"""Parts of fields: encodings, networks, codes of points and directions."""
