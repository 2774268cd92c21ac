"""What makes the bytes of a quantized file."""
