"""The process: signals, child processes, streams, terminal output."""
