"""`indexing`: plan -> children (prepare -> embed? -> upsert) -> report."""
