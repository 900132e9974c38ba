"""`welip`, the command line: one module a group of commands, each a thin layer over `Welip` or over one entry point."""

from producers.client.cli.app import main

__all__ = ["main"]
