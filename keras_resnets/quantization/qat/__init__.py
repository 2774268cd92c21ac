"""Quantization-aware networks: layers, rewriting, training, and at rest."""
