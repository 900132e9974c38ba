"""The kinds of work: one module a kind with its inputs and results, one row a kind in `registry`."""
