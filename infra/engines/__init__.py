"""Models behind the ports: embedders, rerankers and generators, in this process or behind an HTTP endpoint."""
