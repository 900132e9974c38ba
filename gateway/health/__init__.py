"""`/healthz`, `/readyz`, `/metrics`: whether the gateway lives, which dependencies answer, and its metrics."""
