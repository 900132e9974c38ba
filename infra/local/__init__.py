"""Real servers that the project starts itself, without containers, for tests and workstations."""
