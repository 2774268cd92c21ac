"""Networks of the family: what they are, by name, and how they are built."""
