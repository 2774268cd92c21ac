"""Programs that run in the environment or process of a toolchain."""
