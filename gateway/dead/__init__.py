"""`/v1/dead`: dead letters are looked at, requeued and dropped."""
