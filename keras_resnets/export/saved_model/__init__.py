"""SavedModels: made, read without TensorFlow, run by TensorFlow."""
