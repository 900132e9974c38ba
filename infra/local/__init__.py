"""Real servers started by the project itself, without containers: for tests and for a workstation."""
