"""Kafka, the transport: the broker with safe settings, topics, consumers, and the embedded broker."""
