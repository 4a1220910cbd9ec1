"""Export: what was made, as files of other tools."""
