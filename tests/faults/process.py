"""`python -m tests.faults.process MODULE ARGS...`: one of WeLIP's processes, which knows the kind `probe` too."""

import runpy
import sys

from tests.faults.probe import register


def main() -> None:
    register()
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
