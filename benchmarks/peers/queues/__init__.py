"""One module a queue: its task, its worker's settings and its client, all as its documentation recommends.

They run in the queue's own environment, so beside the queue itself they may import the standard library only (and
uvloop, which every environment has). What the benchmark tells them is in `given`.
"""
