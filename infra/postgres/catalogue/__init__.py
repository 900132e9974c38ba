"""The catalogue of collections and documents in Postgres: what stages ask, and the fence of what they write."""
