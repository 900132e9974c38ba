"""`/v1/collections`: indexed collections and their searches."""
