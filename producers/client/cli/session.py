"""What the commands of one run share: the server they talk to, and the jobs that continue when the user leaves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from producers.client.cli.terminal import note
from producers.client.errors import WelipError

if TYPE_CHECKING:
    from producers.client.models import Job
    from producers.client.sync import Client

URL_FILE = Path(".welip/gateway.url")
"""Where a running `welip up` writes its URL, below the folder it was started in."""

FIRST_PATIENCE_S = 1.0
"""How long to try a server that never answered: it was most likely never started."""

LATER_PATIENCE_S = 60.0
"""How long to try a server that did answer: it is most likely being restarted."""


@dataclass
class Session:
    """One run of `welip`."""

    url: str | None = None
    api_key: str | None = None
    going_on: "list[Job]" = field(default_factory=list)
    cancelled: "list[Job]" = field(default_factory=list)

    @contextmanager
    def connect(self) -> "Iterator[Client]":
        """A client for the server that is named by option, environment or a running `welip up`."""
        import stamina.instrumentation

        from producers.client.sync import Client

        # Its default logs each retry to stdout, which belongs to the command's answer.
        stamina.instrumentation.set_on_retry_hooks([])
        with Client(self.resolve_url(), self.api_key, retry_for_s=FIRST_PATIENCE_S) as client:
            yield client

    def resolve_url(self) -> str | None:
        """The server's URL, or None for the client's default."""
        if self.url or os.environ.get("WELIP_URL"):
            return self.url
        try:
            return URL_FILE.read_text().strip() or None
        except OSError:
            return None

    def watch(self, client: "Client", job: "Job") -> None:
        """From here on the run waits for `job`, which continues without it."""
        self.going_on.append(job)
        client.retry_for_s = LATER_PATIENCE_S

    @contextmanager
    def owning(self, client: "Client", job: "Job") -> Iterator[None]:
        """Within the block the run waits for `job`, which is cancelled when the user leaves."""
        self.watch(client, job)
        try:
            yield
        except (KeyboardInterrupt, BrokenPipeError):
            client.retry_for_s = FIRST_PATIENCE_S
            with suppress(WelipError):  # it has ended already, or nobody answers: then it is said to continue
                self.cancelled.append(client.cancel(job.id))
                self.going_on.remove(job)
            raise

    def say_goodbye(self) -> None:
        """Tell an interrupting user which jobs were cancelled, which continue, and how to follow them again."""
        note("welip: interrupted")
        for job in self.cancelled:
            note(f"  job {job.id} {'was' if job.ended else 'is being'} cancelled")
        if len(self.going_on) > 3:
            note(f"  {len(self.going_on)} jobs continue; list them with: welip jobs")
            return
        for job in self.going_on:
            note(f"  job {job.id} continues; follow it with: welip job {job.id} --follow")
