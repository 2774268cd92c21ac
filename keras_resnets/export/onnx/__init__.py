"""ONNX files: made, read without ONNX, run by ONNX Runtime."""
