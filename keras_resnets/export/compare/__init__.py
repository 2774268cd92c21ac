"""Runs, inspects, compares and times exported files."""
