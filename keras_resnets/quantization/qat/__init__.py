"""Quantization-aware training: layers, graph rewriting, training and freezing."""
