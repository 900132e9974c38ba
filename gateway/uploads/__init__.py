"""`/v1/uploads`: a file in parts, which may come in any order."""
