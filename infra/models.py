"""Reads the deployment's models: from the file that `WELIP_MODELS` names, and from the settings of one model."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from infra.engines.names import embedder_name
from infra.settings import EmbedderSettings, GeneratorSettings, ModelSettings, RerankerSettings
from schemas.errors import JobError
from schemas.models import (
    DEFAULT,
    WITHOUT_MODELS,
    CollectionEmbedder,
    ModelInFile,
    Models,
    ModelsFile,
    ModelSpec,
    OpenAIModel,
    colliding,
)


class ModelsInvalid(JobError):
    """The models file cannot be read; the message names file, model and field."""

    code = "models_invalid"


def models_of_environment() -> Models:
    """The models of the deployment that this process belongs to. Raises `ModelsInvalid`."""
    return read_models(ModelSettings(), GeneratorSettings(), EmbedderSettings(), RerankerSettings())


def read_models(
    settings: ModelSettings, generator: GeneratorSettings, embedder: EmbedderSettings, reranker: RerankerSettings
) -> Models:
    """The models in the file, then `default` from the settings, for what they configure and no row of that name does.

    If no model can answer, passages are quoted. A deployment has one reranker. Raises `ModelsInvalid`.
    """
    rows: list[ModelSpec] = []
    written_at = 0
    if settings.models is not None:
        rows += _in_file(settings.models)
        written_at = int(settings.models.stat().st_mtime)
    has_default = any(row.name == DEFAULT for row in rows)
    if has_default and generator.engine != "extractive":
        raise ModelsInvalid(
            f"{settings.models}: model {DEFAULT!r}: WELIP_GENERATOR names a model of that name, too: leave one out"
        )
    rerankers = [repr(row.name) for row in rows if row.can("rerank")]
    rerankers += ["WELIP_RERANKER"] if reranker.engine != "none" and rerankers else []
    if len(rerankers) > 1:
        raise ModelsInvalid(f"{settings.models}: one reranker orders all passages: leave {' or '.join(rerankers)} out")
    if generator.engine == "openai":
        rows.append(of_settings(generator))
    elif not any(row.can("answers") for row in rows):
        rows += WITHOUT_MODELS
    name = embedder_name(embedder)
    if name is not None and not any(row.name == DEFAULT and row.can("embeddings") for row in rows):
        rows.append(CollectionEmbedder(name=DEFAULT, embedder=name))
    return Models(tuple(rows), written_at)


def of_settings(settings: GeneratorSettings) -> OpenAIModel:
    """The model named `default`, for a deployment whose generator is an OpenAI-compatible server."""
    return OpenAIModel(
        name=DEFAULT,
        engine="openai",
        url=settings.url,
        served_as=settings.model,
        api_key=settings.api_key,
        headers=settings.headers,
        timeout_s=settings.timeout.total_seconds(),
        length_field=settings.length_field,
        sampling=settings.sampling,
        system_role=settings.system_role,
        options=settings.body,
    )


def _in_file(path: Path) -> list[ModelInFile]:
    found = _parsed(path)
    try:
        rows = ModelsFile.model_validate(found).models
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        why = str(first["msg"]).removeprefix("Value error, ")
        said = ": ".join([str(path), *_where(found, first["loc"]), why])
        raise ModelsInvalid(said + (f"; and {len(more)} more" if more else "")) from error
    if (two := colliding(row.name for row in rows)) is not None:
        why = "there are two models of this name" if two[0] == two[1] else f"Kafka takes {two[0]!r} for the same name"
        raise ModelsInvalid(f"{path}: model {two[1]!r}: name: {why}")
    return rows


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelsInvalid(f"{path}: {error}") from error
    raise ModelsInvalid(f"{path}: the name of a models file ends in .toml, .yaml or .yml")


def _where(found: Any, location: tuple[int | str, ...]) -> list[str]:
    """The place in the file, like `model 'qwen'` and `limits.at_once`; the engine that selected the row is left out."""
    match location:
        case ("models", int(at), *parts):
            row = found["models"][at]
            known = isinstance(row, Mapping)
            name = repr(row["name"]) if known and "name" in row else f"number {at + 1}"
            if parts and known and parts[0] == row.get("engine"):
                parts = parts[1:]
            return [f"model {name}", *([".".join(map(str, parts))] if parts else [])]
    return [".".join(map(str, location))] if location else []
