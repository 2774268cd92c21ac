"""TFLite files: made, read without an interpreter, run by LiteRT."""
