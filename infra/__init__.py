"""The outside world: settings, logs, metrics, Postgres, Kafka, storage, vector index, engines, the local stack."""
