"""Runs Kiwi on tenants' documents, questions and passages, in isolated processes that share one loaded Kiwi."""
