"""Reads the prompts of WeLIP and of the deployment, once at the start of each process that needs them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from infra.settings import PromptSettings
from schemas.errors import JobError
from schemas.prompts import PROMPT_NAME, PROMPT_VERSION, Prompt, PromptFile, Prompts

OURS: Final = Path(__file__).parent / "files"
FILE_NAME: Final = re.compile(rf"({PROMPT_NAME})@({PROMPT_VERSION})")


class PromptsInvalid(JobError):
    """A file of a prompt cannot be read; the message names file and field."""

    code = "prompts_invalid"


def read_prompts(settings: PromptSettings) -> Prompts:
    """WeLIP's own prompts, and those of the folder that `WELIP_PROMPTS` names. Raises `PromptsInvalid`."""
    found = {str(prompt): prompt for prompt in _in_folder(OURS)}
    if settings.prompts is not None:
        for prompt in _in_folder(settings.prompts):
            if str(prompt) in found:
                raise PromptsInvalid(
                    f"{settings.prompts}: the prompt {prompt} is there already: give it the next version"
                )
            found[str(prompt)] = prompt
    return Prompts(list(found.values()))


def _in_folder(folder: Path) -> Iterator[Prompt]:
    if not folder.is_dir():
        raise PromptsInvalid(f"{folder}: there is no such folder")
    for file in sorted(folder.glob("*.toml")):
        if (named := FILE_NAME.fullmatch(file.stem)) is None:
            raise PromptsInvalid(f"{file}: the name of a prompt's file is like rag-ko@1.toml")
        try:
            given = PromptFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            why = str(first["msg"]).removeprefix("Value error, ")
            raise PromptsInvalid(": ".join(part for part in (str(file), where, why) if part)) from error
        except (OSError, ValueError) as error:
            raise PromptsInvalid(f"{file}: {error}") from error
        yield Prompt(named[1], int(named[2]), given)
