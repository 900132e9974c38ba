"""`welip`, the command line: one module per group of commands, each a thin layer over `Client` or an entry point."""

import sys


def main() -> None:
    """The console script. The client alone lacks typer and rich: then one sentence says what to install."""
    try:
        from producers.client.cli.app import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("welip: the command line needs the package group `cli` -- pip install 'welip[cli]'\n")
        sys.exit(2)
    run()


__all__ = ["main"]
