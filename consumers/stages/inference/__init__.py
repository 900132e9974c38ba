"""`inference`: retrieve -> rerank? -> generate?; through `encode` when the embedding model is in another pool."""
