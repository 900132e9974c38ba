"""The card of a model, from what was recorded: what it is, how it was trained, measured and promoted."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.http.rows import Row
from gateway.models.alias_views import entry_view
from infra.postgres.queries.adapters import StoredAdapter
from schemas.aliases import Alias, base_of
from schemas.lineage import Lineage, SourceFile
from schemas.models import LocalModel, ModelSpec


def card(
    model: str,
    base: ModelSpec | None,
    adapter: StoredAdapter | None,
    alias: Alias | None = None,
    ledger: Sequence[Row] = (),
) -> str:
    """Markdown. `model`: the full name. `alias`: the one that points to it, with its `ledger`, newest first."""
    lineage = None if adapter is None or adapter.lineage is None else Lineage.model_validate_json(adapter.lineage)
    parts = [
        f"# {model if alias is None else alias.name}",
        _table(("", ""), _facts(model, base, adapter, alias)),
        *(() if lineage is None else _training(lineage)),
        *(() if alias is None else _promotions(alias, [entry_view(row) for row in ledger])),
    ]
    return "\n\n".join(parts) + "\n"


def _promotions(alias: Alias, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
    yield from _evidence(alias, entries)
    yield "## Ledger"
    yield _table(
        ("when", "what", "model", "before", "by", "reason", "evaluation"),
        [
            (
                f"{one['created_at']:%Y-%m-%d %H:%M:%S} UTC",
                one["action"] + (" (forced)" if one["forced"] else ""),
                one["canary"] if one["action"].startswith("canary") else one["model"],
                one["previous"],
                one["by"],
                one["reason"],
                one["evaluation"],
            )
            for one in entries
        ],
    )


def _facts(
    model: str, base: ModelSpec | None, adapter: StoredAdapter | None, alias: Alias | None
) -> Iterable[tuple[str, Any]]:
    yield "model", model
    yield "base", base_of(model)
    if base is None:
        yield "warning", "the base is not among the models of this deployment now"
    else:
        yield "engine", base.engine
        yield "weights", _weights(base)
        yield "revision", getattr(base, "revision", None)
        yield "context length", base.context_length
    if adapter is not None:
        yield "adapter", f"{adapter.name}, version {adapter.version}, rank {adapter.rank}"
        yield "sha256 of configuration and weights", adapter.sha256
        yield "registered", f"{adapter.created_at:%Y-%m-%d %H:%M:%S} UTC"
    if alias is not None and alias.canary_model is not None:
        yield "canary", f"{alias.canary_model}, {alias.canary_share:.0%} of the jobs"


def _training(lineage: Lineage) -> Iterable[str]:
    """What the adapter was made of."""
    yield "## Training"
    base = " at ".join(part for part in (lineage.weights, lineage.revision) if part)
    yield _table(
        ("", ""),
        [
            ("job", lineage.job),
            ("began", lineage.trained_at),
            ("code", f"WeLIP {lineage.code}"),
            ("trained on", base or f"the weights of {lineage.base}, in a folder"),
            ("method", f"{lineage.method}, {lineage.adapter}"),
            ("dataset", _source(lineage.dataset)),
            ("validation", _source(lineage.validation)),
            ("split", f"{lineage.rows:,} examples, {lineage.held_out:,} held out, {lineage.tokens:,} tokens"),
            ("files", lineage.archive),
        ],
    )
    yield _table(("hyperparameter", "value"), lineage.parameters.items())
    yield _table(("metric", "value"), [(name, f"{value:g}") for name, value in lineage.metrics.items()])


def _source(file: SourceFile | None) -> str | None:
    return None if file is None else f"{file.file} ({file.filename}, {file.bytes:,} bytes), sha256 {file.sha256}"


def _weights(base: ModelSpec) -> str | None:
    """Where they come from; the path of a folder is nothing that tenants should see."""
    if isinstance(base, LocalModel):
        return "a folder of the workers" if base.in_folder else base.weights
    return getattr(base, "served_as", None)


def _evidence(alias: Alias, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
    """The figures by which the present model was promoted."""
    promoted = next(
        (one for one in entries if one["action"] == "promoted" and one["model"] == alias.model and one["evidence"]),
        None,
    )
    if promoted is None:
        yield "Nothing was measured when this model was promoted."
        return
    told = promoted["evidence"]
    yield "## Evaluation"
    dataset = "items of the submission" if told["dataset"] is None else f"`{told['dataset']}`"
    digest = f", sha256 `{told['dataset_sha256']}`" if told["dataset_sha256"] else ""
    beside = f", beside `{promoted['previous']}`" if promoted["previous"] else ""
    yield f"`{told['evaluation']}`: {told['items']:,} items of {dataset}{digest}{beside}."
    yield _table(
        ("metric", "this model", "the one before", "difference", "95 %"),
        [
            (
                name,
                _figure(one["candidate"]),
                _figure(one["champion"]),
                _figure(one["gain"], "+.4f"),
                None if one["ci95"] is None else f"{one['ci95'][0]:+.4f} to {one['ci95'][1]:+.4f}",
            )
            for name, one in told["metrics"].items()
        ],
    )


def _figure(value: float | None, form: str = ".4f") -> str | None:
    return None if value is None else format(value, form)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *(row for row in rows if any(cell is not None for cell in row[1:]))]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    """Text that cannot leave its cell."""
    return "" if value is None else " ".join(str(value).replace("\\", "\\\\").replace("|", "\\|").split())
