"""`indexing`: plan -> children (prepare -> embed? -> upsert) -> swap? -> report. `swap` ends a rebuild."""
