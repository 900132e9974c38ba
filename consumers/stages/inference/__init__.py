"""`inference`: retrieve -> rerank? -> generate?; by way of `encode` where the embedding model is in another pool."""
