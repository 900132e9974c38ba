"""How good a ranking is, and how certain that is: retrieval metrics, bootstrap intervals, exact lexical scores."""
