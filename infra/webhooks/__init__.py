"""Outgoing webhooks: where they may go, how they are signed and how they are sent."""
