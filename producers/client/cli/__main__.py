"""`python -m producers.client.cli`: the command `welip` without its console script."""

from producers.client.cli import main

main()
