"""Reads what a stage is given from JSON and writes it as JSON: every input and carry is checked here, once."""

from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Any, cast, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from schemas.errors import CarryInvalid, InvalidInput
from schemas.kinds.kind import Shape, Step

Given = BaseModel | Mapping[str, Any]
"""A model, or JSON that is checked against one."""


def read_input(step: Step, text: str | bytes) -> Any:
    """A job's input for this stage. Raises `InvalidInput` with the field that does not fit."""
    try:
        return _adapter(step.input).validate_json(text)
    except ValidationError as error:
        where, why = said(error, "input")
        raise InvalidInput(f"{where}: {why}", field=where) from error


def read_carry(step: Step, text: str | bytes | None) -> Any:
    """What the previous stage handed on. Raises `CarryInvalid` with kind, stage and field."""
    shape = step.stage.carry
    missing = text is None or text in ("{}", b"{}")
    if shape is None:
        if missing:
            return None
        raise CarryInvalid(f"stage {step.label} takes no carry and was given one", field="carry")
    if missing and NoneType in get_args(shape):
        return None
    try:
        return _adapter(shape).validate_json("{}" if text is None else text)
    except ValidationError as error:
        raise _carry_error(step, error) from error


def written_input(step: Step, given: Given) -> str:
    """The input of a job that is to begin at this stage, as JSON. Raises `InvalidInput` with the field."""
    if not (isinstance(given, BaseModel) and _fits(step.input, given)):
        try:
            given = _adapter(step.input).validate_python(given)
        except ValidationError as error:
            where, why = said(error, "input")
            raise InvalidInput(f"{where}: {why}", field=where) from error
    try:
        return _adapter(step.input).dump_json(given).decode()
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidInput(f"input: it is not JSON: {error}", field="input") from error


def written_carry(step: Step, given: Given | None) -> str | None:
    """What is handed on to this stage, as JSON. Raises `CarryInvalid` with kind, stage and field."""
    shape = step.stage.carry
    if shape is None or (not given and NoneType in get_args(shape)):
        if not given:
            return None
        raise CarryInvalid(f"stage {step.label} takes no carry and was given one", field="carry")
    if not _fits(shape, given):
        try:
            given = _adapter(shape).validate_python(given or {})
        except ValidationError as error:
            raise _carry_error(step, error) from error
    try:
        return _adapter(shape).dump_json(given).decode()
    except (PydanticSerializationError, ValueError) as error:
        raise CarryInvalid(f"the carry to stage {step.label} is not JSON: {error}", field="carry") from error


def said(error: ValidationError, root: str) -> tuple[str, str]:
    """The first field that does not fit, such as `input.steps`, the reason, and how many more there are."""
    first, *more = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join([root, *map(str, first["loc"])])
    why = str(first["msg"]).removeprefix("Value error, ")
    return where, why + (f"; and {len(more)} more" if more else "")


def _carry_error(step: Step, error: ValidationError) -> CarryInvalid:
    where, why = said(error, "carry")
    return CarryInvalid(f"the carry does not fit stage {step.label}: {where}: {why}", field=where)


def _fits(shape: Shape, given: object) -> bool:
    """Whether it already is an instance and needs no check; this makes 10,000 children quick."""
    return isinstance(given, shape)


@cache
def _adapter(shape: Shape) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", shape))
