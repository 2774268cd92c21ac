"""Labelled images: where they are, in which parts, found and not yet read."""
