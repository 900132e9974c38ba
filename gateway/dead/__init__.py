"""`/v1/dead`: read, requeue and drop dead letters."""
