"""`inference`: retrieve -> generate, or retrieve alone."""
