"""One script per system that is measured beside WeLIP, run by its own environment's Python; imports nothing of ours."""
