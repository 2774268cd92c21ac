"""The commands behind `keras-resnets`, one module for those that belong together."""
