"""`synthesis`: passages are drawn, a model writes a question about each, and a search looks for the passage."""
