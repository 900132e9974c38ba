"""`/v1/collections`: what was indexed, and searching it."""
