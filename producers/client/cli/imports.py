"""`welip dataset import`: makes evaluations of what other tools have, and names what could not be taken over."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.output import print_json
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.promptfoo import Imported

MAX_INLINE_ITEMS: Final = 1_000


def register(group: typer.Typer) -> None:
    """Add the commands to the group `dataset`."""
    imports = typer.Typer(no_args_is_help=True, help="Make evaluations of what other tools have.")
    imports.callback()(_imports)
    imports.command()(promptfoo)
    group.add_typer(imports, name="import")


def _imports() -> None:
    """Make evaluations of what other tools have."""


def promptfoo(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="promptfooconfig.yaml, or what OpenAI exported.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the evaluation goes. Default: stdout.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="PROVIDER=NAME", help="What a provider's model is called here: openai:gpt-4o=gpt."),
    ] = None,
) -> None:
    """Turn a Promptfoo configuration into an evaluation: `welip evaluate FILE` runs it. OpenAI exports its evals to it.

    Prompts and providers become variants, tests items, assertions graders. What has no counterpart is named on stderr.
    """
    from producers.client.promptfoo import PromptfooError, converted, read
    from producers.client.promptfoo.notes import Notes

    if not config.is_file():
        raise WrongUse(f"there is no file {config}")
    notes = Notes()
    try:
        imported = converted(read(config, notes), notes, dict(map(_pair, model or [])))
    except PromptfooError as error:
        raise WrongUse(str(error)) from error
    if not imported.evaluations:
        _tell(imported)
        raise WrongUse("nothing is left to evaluate: no provider, prompt and test could be taken over together")
    if out is None:
        print_json(imported.evaluations[0] if len(imported.evaluations) == 1 else imported.evaluations)
    else:
        for file in write(imported.evaluations, out):
            note(f"welip evaluate {file}")
    _tell(imported)


def write(evaluations: Sequence[Mapping[str, Any]], out: Path) -> list[str]:
    """Write each evaluation to a file of its own; what `welip evaluate` is to be given for each."""
    given = []
    for number, evaluation in enumerate(evaluations, start=1):
        file = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        asked = dict(evaluation)
        if len(asked["items"]) > MAX_INLINE_ITEMS:
            items = file.with_suffix(".items.jsonl")
            lines = [json.dumps(item, ensure_ascii=False) for item in asked.pop("items")]
            items.write_text("\n".join(lines) + "\n", "utf-8")
            given.append(f"{items} --settings {file}")
        else:
            given.append(str(file))
        file.write_text(json.dumps(asked, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return given


def _tell(imported: "Imported") -> None:
    if imported.models:
        note(f"the deployment needs these models (or give --model PROVIDER=NAME): {', '.join(imported.models)}")
    for title, notes in ("changed", imported.notes.changed), ("left out", imported.notes.lost):
        for text, count in notes.items():
            note(f"{title}: {text}" + (f" ({count} times)" if count > 1 else ""))


def _pair(text: str) -> tuple[str, str]:
    provider, equals, name = text.rpartition("=")
    if not (equals and provider and name):
        raise WrongUse(f"--model {text!r} is not PROVIDER=NAME", "write openai:chat:gpt-4o=gpt")
    return provider, name
