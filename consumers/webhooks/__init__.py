"""Deliveries of webhooks: claimed in Postgres, sent to receivers, recorded, and retried."""
