"""The interactive viewer: look around fields in a browser, while they are fitted too."""
