"""Exported files: run, inspected, compared and timed."""
