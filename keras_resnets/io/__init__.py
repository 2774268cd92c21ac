"""Files: whole or not at all, and those of strangers within bounds."""
