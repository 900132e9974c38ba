"""The catalogue of collections and documents in Postgres: the stages' reads, and the fence for their writes."""
