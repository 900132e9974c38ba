"""`/v1/webhooks`: who is told of events, and what they were told."""
