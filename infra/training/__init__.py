"""Training: the worker's side starts a process and reads what it tells; the rest runs in that process alone.

`process` is the worker's side. `runner` is the process, in an environment with torch, TRL and PEFT; its modules may
import those, and nothing of the worker's.
"""
