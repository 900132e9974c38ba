"""Keeps what the tokenizer made of the examples in one file, and reads it back: tokenising millions takes an hour.

The file is a zip archive, whose checksums tell damage: the datasets as Parquet, as TRL's trainer left them, and what
they were made with. A file that was made with anything else is passed over.
"""

import hashlib
import json
import os
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import datasets
from pydantic import BaseModel

from infra.training.counting import Examples
from schemas.kinds.training import Chosen
from schemas.kinds.training.plan import Counted, TrainingPlan

ABOUT: Final = "about.json"
TRAIN: Final = "train.parquet"
VALIDATION: Final = "validation.parquet"
LIBRARIES: Final = ("datasets", "transformers", "trl")


class About(BaseModel):
    """`made_with`: a hash of all that decides about tokens. `device_batch_size`: KTO pairs neighbours by it."""

    made_with: str
    counted: Counted
    max_length: int
    device_batch_size: int


def made_with(plan: TrainingPlan, tokenizer: Any, context: int) -> str:
    """A hash of the tokenizer, its chat template, the settings that decide about tokens, and the libraries' versions.

    Of the examples nothing is in it: the worker fetched the file that belongs to them.
    """
    known = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    how = (plan.method, plan.max_length, plan.completion_only, context, [version(name) for name in LIBRARIES])
    said = json.dumps([known, tokenizer.chat_template, tokenizer.special_tokens_map, how], default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def recalled(plan: TrainingPlan, made_with: str) -> Examples | None:
    """The tokenised examples of the plan's file, None if there is none, or it is damaged, or made with another hash.

    Packed ones are not kept, because the trainer would pack them again.
    """
    if plan.tokenised is None or plan.packing:
        return None
    # Each of several processes reads a copy of its own.
    folder = Path(plan.output) / f"tokenised-{os.environ.get('RANK', '0')}"
    try:
        with zipfile.ZipFile(plan.tokenised) as packed:
            about = About.model_validate_json(packed.read(ABOUT))
            if about.made_with != made_with:
                return None
            packed.extractall(folder)
    except (zipfile.BadZipFile, KeyError, ValueError):
        return None
    validation = folder / VALIDATION
    return Examples(
        _read(folder / TRAIN, plan),
        _read(validation, plan) if validation.exists() else None,
        about.max_length,
        about.counted,
        about.device_batch_size,
    )


def kept(plan: TrainingPlan, trainer: Any, examples: Examples, chosen: Chosen, made_with: str) -> Path:
    """Write the datasets of a trainer that has just tokenised them into a file, and return that."""
    file, folder = Path(plan.output) / "tokenised.zip", Path(plan.output)
    about = About(
        made_with=made_with,
        counted=examples.counted,
        max_length=examples.max_length,
        device_batch_size=chosen.device_batch_size,
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr(ABOUT, about.model_dump_json())
        for name, dataset in ((TRAIN, trainer.train_dataset), (VALIDATION, trainer.eval_dataset)):
            if dataset is not None:
                dataset.to_parquet(folder / name)
                packed.write(folder / name, name)
                (folder / name).unlink()
    return file


def _read(file: Path, plan: TrainingPlan) -> Any:
    return datasets.Dataset.from_parquet(str(file), cache_dir=str(Path(plan.output) / "cache"))
