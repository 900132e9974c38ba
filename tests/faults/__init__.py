"""The fault matrix: real processes are killed, frozen, cut off and starved; `make faults` counts what was lost."""
