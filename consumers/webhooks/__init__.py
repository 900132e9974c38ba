"""Deliveries of webhooks: taken from Postgres, sent to receivers, recorded, and tried again."""
