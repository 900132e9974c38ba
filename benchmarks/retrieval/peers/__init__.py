"""One script for each system measured beside WeLIP, run by the Python of its own environment; knows nothing of ours."""
