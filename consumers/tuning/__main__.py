"""`python -m consumers.tuning`: the process of `welip tune`."""

import sys

from producers.client.cli.failures import INTERRUPTED
from producers.client.cli.interrupts import interruptible

try:
    with interruptible():
        from consumers.tuning.command import app

        app(prog_name="welip tune")
except KeyboardInterrupt:  # before the command itself minds it
    sys.exit(INTERRUPTED)
