"""The outside world: settings, logs, metrics, Postgres, Kafka, object storage, vector index, engines, the local stack."""
