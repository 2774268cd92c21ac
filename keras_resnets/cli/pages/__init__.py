"""The contents of `--report`."""
