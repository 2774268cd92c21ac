"""Networks of the family: their architectures, their variants, and how they are built."""
