"""Runs one of WeLIP's processes so that it ends with its supervisor, however that one ends."""

import contextlib
import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2), Linux: the signal that a process gets when its parent dies


def main() -> None:
    """`python -m infra.local.supervised PARENT_PID MODULE ARGS...`."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the call
            sys.exit(1)
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
