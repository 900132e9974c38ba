"""Compares WeLIP with popular queues: the same jobs, the same machine, the same run, the same clock."""
