"""Training: data, augmentation, recipes."""
