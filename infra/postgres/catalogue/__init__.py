"""The catalogue of collections and documents in Postgres: what stages read, and the fence for what they write."""
