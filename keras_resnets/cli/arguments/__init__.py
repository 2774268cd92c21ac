"""The arguments of several commands, their checks, and what they select."""
