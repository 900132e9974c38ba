"""Processes for work on tenants' data: forked from a warm server, limited, watched and killed when necessary."""
