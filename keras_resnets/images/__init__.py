"""Images and their labels: read, prepared, chosen for calibration, scored."""
