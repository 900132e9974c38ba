"""The vector index: chunks by collection, found by sparse and dense vectors; in this process or on a Qdrant server."""
