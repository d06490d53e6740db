"""Run directories: written in parts, read back as tables."""
