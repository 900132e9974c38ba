"""What all resources share: errors as problems, keys, limits, bodies, what surrounds every request."""
