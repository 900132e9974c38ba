"""Batches: the lines of their input, the lines of their output, and what clients send and are shown."""
