"""The toolchains of the targets: each runs or compiles a file, and writes code for it."""
