"""Data sets of labelled images: their sources, their parts, and how they are read."""
