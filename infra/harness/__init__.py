"""lm-evaluation-harness: the worker's side starts a process and answers what it asks; the rest runs in that process.

`process` is the worker's side. `runner` is the process, in an environment with lm-eval; its modules may import that,
and nothing of the worker's. The model stays with the worker: what lm-eval asks of one goes through a pipe.
"""
