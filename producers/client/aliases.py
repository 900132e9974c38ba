"""`client.models`: the models there are, and the aliases that are moved from one to the next."""

from collections.abc import Mapping
from typing import Any, TypeAlias, Unpack

import httpx
from pydantic import ConfigDict, Field

from producers.client.binding import AsynchronousPart, BlockingPart, Paging, call, pages
from producers.client.models import TOLERANT, Answered, Deleted, Job, Page
from producers.client.requests import Request, SubmitOptions, all_of, given, one, path, submit
from schemas.aliases import AliasView, LedgerEntry, Moved


class Model(Answered):
    """A model, an adapter of one (`parent`), or an alias (`alias_of`). `served`: whether a living worker runs it."""

    id: str
    tasks: list[str] = Field(default_factory=list)
    engine: str | None = None
    served: bool = False
    context_length: int | None = None
    parent: str | None = None
    version: int | None = None
    alias_of: str | None = None


class ModelAlias(AliasView):
    """An alias and what it points to."""

    model_config = ConfigDict(**TOLERANT)


class MovedAlias(Moved):
    """An alias after a step, and the step."""

    model_config = ConfigDict(**TOLERANT)


class Promotion(LedgerEntry):
    """A step of an alias, as the ledger has it."""

    model_config = ConfigDict(**TOLERANT)


class DiffedMetric(Answered):
    """A metric of both models, with the gain of the second over the first where they were paired."""

    first: float | None = None
    second: float | None = None
    gain: float | None = None
    ci95: list[float] | None = None
    significant: bool | None = None


class ModelDiff(Answered):
    """Two models in the newest evaluation that asked both."""

    first: str
    second: str
    evaluation: str
    items: int
    metrics: dict[str, DiffedMetric]


ModelRows: TypeAlias = list[Model]
AliasRows: TypeAlias = list[ModelAlias]
"""Named here, because `list` is a call below."""


class ModelCalls:
    """Models and aliases. Every method raises the same errors as the client's own methods."""

    @call
    def list(self) -> Request[ModelRows]:
        """Models, their adapters, and the tenant's aliases."""
        return Request("GET", path("models"), all_of(Page[Model]))

    @call
    def aliases(self) -> Request[AliasRows]:
        """The tenant's aliases, by name."""
        return Request("GET", path("models", "aliases"), all_of(Page[ModelAlias]))

    @call
    def alias(self, name: str) -> Request[ModelAlias]:
        """What an alias points to now."""
        return Request("GET", path("models", "aliases", name), one(ModelAlias))

    @pages
    def ledger(self, name: str) -> Paging[Promotion]:
        """Every step of an alias, newest first, a page at a time."""
        return lambda after: Request(
            "GET",
            path("models", "aliases", name, "ledger"),
            one(Page[Promotion]),
            params=given(after=after, limit=100),
        )

    @call
    def promote(
        self,
        name: str,
        model: str,
        *,
        expected: str | None,
        evaluation: str | None = None,
        force: bool = False,
        reason: str | None = None,
    ) -> Request[MovedAlias]:
        """Point an alias to a model; `expected`: the one that it points to now, None to make the alias.

        It takes an `evaluation` that compared the two, or `force` and a `reason`. Raises `ApiError` with status 409
        (`champion_changed`) when the alias points to another model.
        """
        body = {**given(evaluation=evaluation, reason=reason), "model": model, "expected": expected, "force": force}
        return _step(name, "promote", body)

    @call
    def gate(
        self,
        name: str,
        model: str,
        questions: Mapping[str, Any],
        *,
        reason: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Request[Job]:
        """Submit a job that evaluates `model` beside the champion, and promotes it if it is not worse.

        `questions`: the other fields of the input of the kind `promotion`: `dataset` or `items`, `collection`, `way`,
        `metrics`, `by`.
        """
        asked = {**questions, **given(reason=reason), "alias": name, "model": model}
        return submit("promotion", asked, options)

    @call
    def roll_back(self, name: str, *, expected: str | None = None, reason: str | None = None) -> Request[MovedAlias]:
        """Take back the last step: the canary if there is one, else the last promotion."""
        return _step(name, "rollback", given(expected=expected, reason=reason))

    @call
    def canary(
        self, name: str, model: str, share: float, *, expected: str | None = None, reason: str | None = None
    ) -> Request[MovedAlias]:
        """Let a share of the alias's jobs, up to 0.5, run on another model."""
        return _step(name, "canary", {**given(expected=expected, reason=reason), "model": model, "share": share})

    @call
    def end_canary(self, name: str) -> Request[MovedAlias]:
        """End a canary; the alias goes on to point to the model before."""
        return Request("DELETE", path("models", "aliases", name, "canary"), one(MovedAlias), repeatable=False)

    @call
    def remove_alias(self, name: str) -> Request[Deleted]:
        """Remove an alias; its ledger stays."""
        return Request("DELETE", path("models", "aliases", name), one(Deleted), repeatable=False)

    @call
    def card(self, name: str) -> Request[str]:
        """The card of a model, or of the one that an alias points to, as Markdown."""
        return Request("GET", path("models", name, "card"), _text)

    @call
    def diff(self, first: str, second: str) -> Request[ModelDiff]:
        """Figures of two models, or aliases, in the newest evaluation that asked both."""
        return Request("GET", path("models", first, "diff"), one(ModelDiff), params={"with": second})


def _step(name: str, step: str, body: Mapping[str, Any]) -> Request[MovedAlias]:
    # Not repeatable: the second time the alias would be another.
    return Request("POST", path("models", "aliases", name, step), one(MovedAlias), json=dict(body), repeatable=False)


def _text(response: httpx.Response) -> str:
    return response.text


class Models(ModelCalls, BlockingPart):
    """`Client.models`."""


class AsyncModels(ModelCalls, AsynchronousPart):
    """`AsyncClient.models`."""
