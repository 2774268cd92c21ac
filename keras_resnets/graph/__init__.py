"""Functions that read, analyze and extend any `keras.Model`."""
