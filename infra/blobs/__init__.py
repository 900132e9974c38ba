"""Object storage: immutable bytes under `/`-separated keys, in a folder or on an S3 server."""
