"""`embedding`: texts become dense vectors."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.models import DEFAULT


class EmbeddingInput(BaseModel):
    """Texts. `purpose`: models that tell questions from what is searched put another prefix before each."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    texts: list[Annotated[str, StringConstraints(min_length=1, max_length=100_000)]] = Field(
        min_length=1, max_length=2_048
    )
    model: str = Field(DEFAULT, min_length=1, max_length=200)
    purpose: Literal["query", "document"] = "document"


class EmbeddingResult(BaseModel):
    """A vector of unit length for each text, in their order."""

    vectors: list[list[float]]
    dimension: int
    model: str
