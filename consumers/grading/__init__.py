"""Scores answers in processes of their own: the texts are tenants', and so are the graders that say what to do."""
