"""Work goes onto topics: the relay, due retries, rescue of lost work, and the client and CLI for work from outside."""
