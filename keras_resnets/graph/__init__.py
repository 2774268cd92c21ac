"""What can be asked of any `keras.Model`."""
