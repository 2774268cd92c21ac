"""Backends, which write the bytes of a quantized file."""
