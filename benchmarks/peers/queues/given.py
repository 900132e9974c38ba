"""What the benchmark passes to a queue's processes through their environment."""

import os

REDIS_URL = os.environ.get("PEERS_REDIS_URL", "")
POSTGRES_URL = os.environ.get("PEERS_POSTGRES_URL", "")

CONCURRENCY = int(os.environ.get("PEERS_CONCURRENCY", "10"))
"""How many jobs a worker process runs at once."""

DURABLE = os.environ.get("PEERS_DURABLE") == "1"
"""Whether a job is acknowledged only after its end, and given to another worker when its own dies."""

SILENCE_S = int(os.environ.get("PEERS_SILENCE_S", "15"))
"""With `DURABLE`: after how many seconds a silent worker's jobs go to another, where the queue has such a setting."""
