"""How good a ranking is, and how sure that is: metrics of retrieval, bootstrap intervals, and exact lexical scores."""
