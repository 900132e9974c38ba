"""One module per queue: its task, its worker's settings and its client, as its documentation recommends.

The modules run in the queue's own environment. Besides the queue they may import only the standard library, and uvloop,
which every environment has. `given` holds what the benchmark tells them.
"""
