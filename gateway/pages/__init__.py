"""`/docs` and `/asyncapi`: the API for people."""
