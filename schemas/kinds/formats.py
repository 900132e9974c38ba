"""The form that a reply must have, as OpenAI's chat completions write it: any text, a JSON object, or a JSON schema."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_SCHEMA_CHARS: Final = 64_000
"""Of a JSON schema. OpenAI's own limit is 120,000 characters for all names and values in it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)


def _is_schema(given: dict[str, Any]) -> dict[str, Any]:
    """Raise `ValueError` unless it is a JSON schema (draft 2020-12)."""
    import jsonschema_rs  # here, because the client has no need of it

    if len(repr(given)) > MAX_SCHEMA_CHARS:
        raise ValueError(f"a schema may have {MAX_SCHEMA_CHARS:,} characters")
    # Without `$schema`: a metaschema elsewhere would be fetched from wherever the request says.
    own = {name: value for name, value in given.items() if name != "$schema"}
    try:
        jsonschema_rs.meta.validate(own)
    except jsonschema_rs.ValidationError as error:
        where = ".".join(map(str, error.instance_path))
        raise ValueError(f"not a JSON schema: {where + ': ' if where else ''}{error.message[:300]}") from error
    return given


JsonSchema = Annotated[dict[str, Any], AfterValidator(_is_schema)]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class PlainText(_Strict):
    """No form is asked for."""

    type: Literal["text"]


class JsonObject(_Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(_Strict):
    """A JSON schema, by the engine's guided decoding: the text follows it whether `strict` is said or not."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: FunctionName
    description: str | None = Field(None, max_length=20_000)
    schema_: JsonSchema = Field(alias="schema")
    strict: bool | None = None


class BySchema(_Strict):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | JsonObject | BySchema, Field(discriminator="type")]
