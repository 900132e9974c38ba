"""The vector index: stores chunks by collection and finds them by sparse and dense vectors, embedded or on a server."""
