"""Files: written whole or not at all; untrusted ones are read within bounds."""
