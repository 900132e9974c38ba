"""`/v1/webhooks`: endpoints, and deliveries of events to them."""
