"""The effect of a probe: an artifact under the job's folder, which bears the fencing token, named by the result."""

from pathlib import Path
from typing import Any
from uuid import UUID

from consumers.stages.context import StageJob
from consumers.stages.ports import Ports
from schemas.outcomes import Done


async def leave(job: StageJob[Any, Any], ports: Ports, letters: int) -> Done:
    """Write the artifact; a result of so many letters names it."""
    effect = f"{job.folder}/effect"
    await ports.blobs.put(effect, _content(job.id, job.epoch))
    return Done({"epoch": job.epoch, "effect": effect, "letters": "x" * letters})


def wrong(blobs: Path, job: UUID, epoch: int, result: dict[str, Any]) -> str | None:
    """What is wrong with the effect of a job that succeeded in this epoch."""
    if "file" in result:  # a long result is an artifact by itself
        return None
    if result.get("epoch") != epoch or f"/{job.hex}/{epoch}/" not in str(result.get("effect")):
        return f"its result is of epoch {result.get('epoch')}, its row of {epoch}"
    try:
        found = (blobs / "objects" / result["effect"]).read_bytes()
    except OSError as error:
        return f"its effect cannot be read: {error}"
    return None if found == _content(job, epoch) else f"its effect is another one's: {found!r}"


def _content(job: UUID, epoch: int) -> bytes:
    return f"{job.hex} {epoch}".encode()
