"""What all resources share: errors as problems, keys, limits, bodies, and the middleware around every request."""
