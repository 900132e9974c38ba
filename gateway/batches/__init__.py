"""`/v1/batches`: many requests in a file, and one file of what became of them."""
