"""`/healthz`, `/readyz`, `/metrics`: whether the gateway lives, what answers it, and what is measured."""
