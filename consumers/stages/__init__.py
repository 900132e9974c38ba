"""The stages, one folder a kind. They know `schemas` and the ports they are given, nothing else."""
