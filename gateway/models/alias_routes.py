"""`/v1/models/aliases`: a tenant's own names for models, moved by promotions, rollbacks and canaries."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from gateway.http.answers import json, page
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.http.rows import Row
from gateway.models.alias_views import alias_view, entry_view, moved_view
from gateway.models.card import card
from gateway.models.evidence import Diff, diff, evidence
from gateway.services import Asking, Services, ServicesDep, Tenant
from infra.postgres.aliases import NAME, expect
from infra.postgres.queries import adapters, aliases
from schemas.adapters import named_adapter
from schemas.aliases import (
    AliasList,
    AliasView,
    Ledger,
    Moved,
    NewCanary,
    NewPromotion,
    NewRollback,
    base_of,
)
from schemas.answers import Deleted
from schemas.errors import InvalidInput, NotFound
from schemas.ids import parsed, pattern
from schemas.models import MODEL_NAME

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)

ON_THE_CARD: Final = 100
"""Steps of the ledger."""

AliasPath = Annotated[str, Path(pattern=f"^{MODEL_NAME}$", description="The alias: a name like a model's.")]
ModelPath = Annotated[str, Path(max_length=220, description="A model, an adapter, or an alias.")]


@router.get("/aliases", summary="List aliases", response_model=AliasList, responses=problems(429))
async def listing(services: ServicesDep, tenant: Tenant) -> Response:
    """A tenant's aliases, by name."""
    async with services.reads.connection(tenant) as connection:
        found = await aliases.aliases(connection, tenant)
    return json({"object": "list", "data": [alias_view(one) for one in found]})


@router.get("/aliases/{alias}", summary="Look at an alias", response_model=AliasView, responses=problems(404, 422))
async def one(alias: AliasPath, services: ServicesDep, tenant: Tenant) -> Response:
    """What an alias points to now."""
    return json(alias_view(await services.aliases.known(tenant, alias)))


@router.get(
    "/aliases/{alias}/ledger",
    summary="List the steps of an alias",
    response_model=Ledger,
    responses=problems(422, 429),
)
async def ledger(
    alias: AliasPath,
    services: ServicesDep,
    tenant: Tenant,
    after: Annotated[
        str | None, Query(pattern=pattern("promotion"), description="The last id of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Promotions, rollbacks and canaries, newest first; also those of an alias that was removed."""
    last = None if after is None else parsed("promotion", after)
    async with services.reads.connection(tenant) as connection:
        rows = await aliases.ledger(connection, tenant, alias, after=last, limit=limit + 1)
    return json(page([entry_view(row) for row in rows], limit))


@router.post(
    "/aliases/{alias}/promote",
    summary="Promote a model",
    response_model=Moved,
    responses=problems(400, 404, 409, 422),
)
async def promote(alias: AliasPath, body: NewPromotion, services: ServicesDep, asking: Asking) -> Response:
    """Point an alias to another model, or make it. It takes an evaluation of both models, or `force` and a reason.

    409 `champion_changed` when the alias points to another model than `expected`.
    """
    tenant = asking.tenant
    candidate = await services.aliases.candidate(tenant, alias, body.model)
    champion = await services.aliases.champion(tenant, alias)
    expect(alias, champion, body.expected)
    told = None
    if body.evaluation is not None:
        told = await evidence(
            services, tenant, body.evaluation, champion=champion, candidate=candidate, forced=body.force
        )
    elif champion is not None and not body.force:
        raise InvalidInput(
            f"show that {candidate!r} is as good as {champion!r}: name an `evaluation` of both, submit a job of kind"
            " `promotion`, or give `force` and a `reason`",
            code="gate_required",
            field="evaluation",
        )
    moved = await services.aliases.promote(
        tenant,
        alias,
        candidate,
        expected=body.expected,
        by=asking.name,
        reason=body.reason,
        forced=body.force,
        evidence=told,
    )
    return json(moved_view(*moved))


@router.post(
    "/aliases/{alias}/rollback",
    summary="Roll back an alias",
    response_model=Moved,
    responses=problems(400, 404, 409, 422),
)
async def rollback(alias: AliasPath, body: NewRollback, services: ServicesDep, asking: Asking) -> Response:
    """Take back the last step: the canary if there is one, else the last promotion. Waiting jobs follow in seconds."""
    moved = await services.aliases.roll_back(
        asking.tenant, alias, expected=body.expected, by=asking.name, reason=body.reason
    )
    return json(moved_view(*moved))


@router.post(
    "/aliases/{alias}/canary",
    summary="Put a model on trial",
    response_model=Moved,
    responses=problems(400, 404, 409, 422),
)
async def canary(alias: AliasPath, body: NewCanary, services: ServicesDep, asking: Asking) -> Response:
    """Let a share of the jobs run on another model. It is rolled back by itself when it is significantly worse."""
    model = await services.aliases.candidate(asking.tenant, alias, body.model)
    moved = await services.aliases.start_canary(
        asking.tenant, alias, model, body.share, expected=body.expected, by=asking.name, reason=body.reason
    )
    return json(moved_view(*moved))


@router.delete("/aliases/{alias}/canary", summary="End a trial", response_model=Moved, responses=problems(404, 422))
async def no_canary(alias: AliasPath, services: ServicesDep, asking: Asking) -> Response:
    """End the trial of a model; the alias goes on to point to the one before."""
    return json(moved_view(*await services.aliases.end_canary(asking.tenant, alias, by=asking.name)))


@router.delete("/aliases/{alias}", summary="Remove an alias", response_model=Deleted, responses=problems(404, 422))
async def remove(alias: AliasPath, services: ServicesDep, asking: Asking) -> Response:
    """Remove an alias; its ledger stays. Jobs that named it keep to their model."""
    await services.aliases.remove(asking.tenant, alias, by=asking.name)
    return json({"id": alias, "object": "model.alias", "deleted": True})


@router.get(
    "/{id}/card",
    summary="Read the card of a model",
    response_class=Response,
    responses={200: {"description": "Markdown.", "content": {"text/markdown": {}}}, **problems(404, 422, 429)},
)
async def model_card(id: ModelPath, services: ServicesDep, tenant: Tenant) -> Response:
    """What was recorded of a model, or of the one that an alias points to: base, training, evaluation, ledger."""
    may_be_alias = NAME.fullmatch(id) and not services.models.knows(id)
    alias = await services.aliases.known(tenant, id) if may_be_alias else None
    model = await _meant(services, tenant, id, "id") if alias is None else alias.model
    named = named_adapter(model)
    rows: Sequence[Row] = ()
    async with services.reads.connection(tenant) as connection:
        if alias is not None:
            rows = await aliases.ledger(connection, tenant, id, after=None, limit=ON_THE_CARD)
        adapter = (
            None if named is None else await adapters.find(connection, tenant, named.base, named.name, named.version)
        )
    base = next((row for row in services.models if row.name == base_of(model)), None)
    return Response(card(model, base, adapter, alias, rows), media_type="text/markdown; charset=utf-8")


@router.get("/{id}/diff", summary="Compare two models", response_model=Diff, responses=problems(404, 422, 429))
async def difference(
    id: ModelPath,
    services: ServicesDep,
    tenant: Tenant,
    other: Annotated[str, Query(alias="with", min_length=1, max_length=220, description="Another one.")],
) -> Response:
    """Figures of two models in the newest evaluation that asked both. An alias stands for what it points to."""
    first, second = await _meant(services, tenant, id, "id"), await _meant(services, tenant, other, "with")
    return json((await diff(services, tenant, first, second)).model_dump())


async def _meant(services: Services, tenant: str, name: str, field: str) -> str:
    """The full name of a model, an adapter, or what an alias points to. Raises `NotFound`."""
    try:
        return await services.aliases.champion(tenant, name) or await services.aliases.pinned(tenant, name)
    except InvalidInput as error:
        raise NotFound(error.message, code=error.reason, field=field) from error
