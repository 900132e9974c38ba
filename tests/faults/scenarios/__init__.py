"""The scenarios of the fault matrix, one module each: `NAME`, and `run(grounds, quick)`, which gives its verdict."""
