"""The process: signals, processes of its own, streams, what it shows."""
