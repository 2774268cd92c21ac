"""`.keras` files: made, and those of strangers loaded within bounds."""
