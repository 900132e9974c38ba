"""`/v1/files`: bytes stream to object storage and back."""
