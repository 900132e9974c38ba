"""What `welip train` and `welip sweep` share: they check a file of examples, upload it with a bar, and submit a job."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from producers.client.cli.failures import WrongUse
from producers.client.cli.output import plain, print_json, progress_bars
from producers.client.cli.terminal import say

if TYPE_CHECKING:
    from producers.client.cli.session import Session
    from producers.client.models import Job
    from producers.client.sync import Client
    from producers.client.uploads import SentWatcher

PANEL = "Training"


def check_files(*files: Path | None) -> None:
    """Raise `WrongUse` for a file that is not there."""
    for file in files:
        if file is not None and not file.is_file():
            raise WrongUse(f"there is no file {file}")


def set_hyperparameters(asked: dict[str, Any], pairs: list[str] | None) -> None:
    """Put what `--set` says on top of the hyperparameters of a job's input. Raises `WrongUse`."""
    if pairs:
        asked["hyperparameters"] = {**asked.get("hyperparameters", {}), **dict(map(parse_pair, pairs))}


def parse_pair(text: str) -> tuple[str, Any]:
    """`epochs=5` as name and value; values are JSON where they can be. Raises `WrongUse`."""
    import json

    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not re.fullmatch(r"[a-z_]+", name):
        raise WrongUse(f"--set {text!r} is not key=value", "write 'epochs=5'")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def submit(
    session: "Session",
    client: "Client",
    dataset: Path,
    begin: "Callable[[SentWatcher], Job]",
    *,
    leave: bool,
    json: bool,
) -> "Job | None":
    """Show a bar while `begin` uploads and submits. None: the user leaves, and the job's id was printed."""
    with progress_bars(quiet=json, bytes=True) as bars:
        task = bars.add_task(f"uploading {dataset.name}", total=dataset.stat().st_size)
        job = begin(lambda sent: bars.update(task, completed=sent))
    if leave:
        print_json(plain(job)) if json else say(job.id)
        return None
    session.watch(client, job)
    return job
