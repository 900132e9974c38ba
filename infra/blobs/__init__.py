"""Object storage: immutable bytes under keys with `/` separators, in a folder or on an S3 server."""
