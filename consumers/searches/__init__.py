"""Searches that a worker answers without a job."""
