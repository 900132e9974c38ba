"""Reads a training dataset row by row: JSON Lines, CSV, TSV or Parquet, in any of the forms that a method takes."""

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from pydantic import ValidationError

from infra.corpora.parquet import parquet_records
from infra.corpora.tables import text_records
from schemas.errors import InvalidInput
from schemas.kinds.training import Method
from schemas.kinds.training.examples import Example, ExampleProblem, Turn, Turns

COLUMNS: Final = ("messages", "prompt", "completion", "chosen", "rejected", "label")
_FORMS: Final[Mapping[str, str]] = {
    "sft": "`messages`, or `prompt` and `completion`",
    "dpo": "`chosen` and `rejected`, with a `prompt` or with the whole conversation in both",
    "orpo": "`chosen` and `rejected`, with a `prompt` or with the whole conversation in both",
    "kto": "`prompt`, `completion` and `label`",
}
_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False, "1": True, "0": False}
_ROLES: Final[Mapping[str, str]] = {"developer": "system"}


class _WrongRow(ValueError):
    """A row is no example; the message goes on after "row 7: "."""


def read_examples(file: IO[bytes], method: Method, format: str) -> Iterator[Example | ExampleProblem]:
    """Each row as one example or, of a conversation with several answers, as several; or what is wrong with it.

    Rows are numbered from 1 below the header; blank lines do not count. Blocking. Raises `InvalidInput` as the readers
    of corpora do, in the words of a dataset.
    """
    try:
        records = parquet_records(file, [], COLUMNS) if format == "parquet" else text_records(file, format, [], COLUMNS)
        for number, row in enumerate(records, start=1):
            try:
                if isinstance(row, str):
                    raise _WrongRow(row)
                given = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}
                yield from _examples(number, given, method)
            except _WrongRow as error:
                yield ExampleProblem(row=number, message=f"row {number}: {error}"[:500])
    except InvalidInput as error:
        code = error.reason.replace("corpus", "dataset")
        raise InvalidInput(error.message.replace("the corpus", "the dataset"), code=code, field="input.dataset") from (
            error
        )


def _examples(number: int, row: Mapping[str, Any], method: Method) -> Iterator[Example]:
    match method:
        case "sft":
            if "messages" in row:
                for prompt, answer in _answers(_conversation(row["messages"], "messages")):
                    yield Example(row=number, prompt=prompt, completion=[answer])
            else:
                _need(row, ("prompt", "completion"), method)
                yield Example(row=number, prompt=_prompt(row), completion=_answer(row, "completion"))
        case "kto":
            _need(row, ("prompt", "completion", "label"), method)
            completion = _answer(row, "completion")
            yield Example(row=number, prompt=_prompt(row), completion=completion, label=_label(row["label"]))
        case "dpo" | "orpo":
            _need(row, ("chosen", "rejected"), method)
            prompt, chosen, rejected = _pair(row, method)
            if chosen == rejected:
                raise _WrongRow("its `chosen` and its `rejected` are the same")
            yield Example(row=number, prompt=prompt, chosen=chosen, rejected=rejected)


def _need(row: Mapping[str, Any], columns: tuple[str, ...], method: Method) -> None:
    missing = [column for column in columns if column not in row]
    if missing:
        there = ", ".join(f"`{name}`" for name in row) or "none of them"
        lacks = " and ".join(f"`{one}`" for one in missing)
        raise _WrongRow(f"it lacks, or leaves empty, {lacks}: {method} needs {_FORMS[method]}, and it has {there}")


def _pair(row: Mapping[str, Any], method: Method) -> tuple[Turns, Turns, Turns]:
    if "prompt" in row:
        return _prompt(row), _answer(row, "chosen"), _answer(row, "rejected")
    both = row["chosen"], row["rejected"]
    if not all(isinstance(one, list) for one in both):
        raise _WrongRow(f"it lacks `prompt`: {method} needs {_FORMS[method]}")
    chosen, rejected = _conversation(both[0], "chosen"), _conversation(both[1], "rejected")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    same = min(same, len(chosen) - 1, len(rejected) - 1)
    if same < 1:
        raise _WrongRow("its `chosen` and its `rejected` do not begin with the same turn")
    return chosen[:same], _ends_well(chosen[same:], "chosen"), _ends_well(rejected[same:], "rejected")


def _answers(turns: Turns) -> Iterator[tuple[Turns, Turn]]:
    """Each answer of a conversation, with all that comes before it."""
    found = False
    for at, turn in enumerate(turns):
        if turn.role == "assistant":
            if at == 0 or turns[at - 1].role != "user":
                raise _WrongRow(f"turn {at + 1} of its `messages` answers no question: the turn before is not a user's")
            found = True
            yield turns[:at], turn
    if not found:
        raise _WrongRow("its `messages` hold no answer: no turn has the role `assistant`")


def _prompt(row: Mapping[str, Any]) -> Turns:
    turns = _turns(row["prompt"], "prompt", "user")
    if turns[-1].role != "user":
        raise _WrongRow("its `prompt` does not end with a user's turn")
    return turns


def _answer(row: Mapping[str, Any], column: str) -> Turns:
    return _ends_well(_turns(row[column], column, "assistant"), column)


def _ends_well(turns: Turns, column: str) -> Turns:
    if any(turn.role != "assistant" for turn in turns):
        raise _WrongRow(f"its `{column}` holds a turn that is not the assistant's")
    return turns


def _turns(cell: Any, column: str, role: str) -> Turns:
    """A text as one turn of this role, or a list of turns."""
    return [_turn({"role": role, "content": cell}, column, 1)] if isinstance(cell, str) else _conversation(cell, column)


def _conversation(cell: Any, column: str) -> Turns:
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError as error:
            raise _WrongRow(f"its `{column}` is a text that is no JSON: {error}") from error
    if not isinstance(cell, list) or not cell:
        raise _WrongRow(f"its `{column}` is no list of turns")
    return [_turn(one, column, at) for at, one in enumerate(cell, start=1)]


def _turn(given: Any, column: str, at: int) -> Turn:
    where = f"turn {at} of its `{column}`"
    if not isinstance(given, Mapping):
        raise _WrongRow(f"{where} is no object with `role` and `content`")
    if given.get("tool_calls"):
        raise _WrongRow(f"{where} calls tools, which training does not take")
    content = given.get("content")
    if isinstance(content, list):  # OpenAI's content parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if not isinstance(content, str) or not content.strip():
        raise _WrongRow(f"{where} is empty")
    role = given.get("role")
    try:
        content.encode()
        return Turn.model_validate({"role": _ROLES.get(str(role), role), "content": content})
    except UnicodeEncodeError:
        raise _WrongRow(f"{where} contains invalid bytes") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _WrongRow(f"{where}: its {first['loc'][0]}: {first['msg']}") from error


def _label(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    try:
        return _WORDS[str(cell).strip().lower()]
    except KeyError:
        raise _WrongRow("its `label` is neither true nor false") from None
