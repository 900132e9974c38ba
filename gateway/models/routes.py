"""`/v1/models`: the models and adapters there are, and whether anybody serves them now; adapters come and go here."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from gateway.http.answers import json
from gateway.http.bodies import JsonRoute
from gateway.http.openapi import problems
from gateway.models.views import ModelList, ModelView, adapter_view, model_views
from gateway.services import Services, ServicesDep, Tenant
from infra.postgres.queries import adapters, aliases, claim
from schemas.adapters import NamedAdapter, NewAdapter, named_adapter
from schemas.answers import Deleted
from schemas.errors import Conflict, NotFound

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)

ModelId = Annotated[str, Path(max_length=220, description="`model`, `model:adapter` or `model:adapter@version`.")]


@router.get("", summary="List models", response_model=ModelList, responses=problems(429))
async def listing(services: ServicesDep, tenant: Tenant) -> Response:
    """Every model of the deployment, and the tenant's adapters of it, each in its newest version."""
    return json({"object": "list", "data": await _views(services, tenant)})


@router.post(
    "",
    summary="Register an adapter",
    status_code=201,
    response_model=ModelView,
    responses={200: {"model": ModelView}, **problems(400, 404, 409, 413, 422, 429)},
)
async def add(body: NewAdapter, services: ServicesDep, tenant: Tenant) -> Response:
    """Register a LoRA adapter, from an uploaded archive, as the next version of its name.

    200 where that archive is the newest version already.
    """
    found, new = await services.registrar.register(tenant, body)
    base = await _view(services, tenant, found.base)
    view = adapter_view(base, found)
    return json(view, 201 if new else 200, {"Location": f"/v1/models/{view['id']}"})


@router.get("/{id}", summary="Look at a model", response_model=ModelView, responses=problems(404))
async def model(id: ModelId, services: ServicesDep, tenant: Tenant) -> Response:
    """A model or an adapter by its name."""
    named = named_adapter(id)
    if named is not None and named.version is not None:
        async with services.database.connection() as connection:
            found = await adapters.find(connection, tenant, named.base, named.name, named.version)
        if found is None:
            raise _unknown(named)
        return json(adapter_view(await _view(services, tenant, found.base), found, version=True))
    return json(await _view(services, tenant, id))


@router.delete("/{id}", summary="Remove an adapter", response_model=Deleted, responses=problems(404, 409))
async def remove(id: ModelId, services: ServicesDep, tenant: Tenant) -> Response:
    """Remove an adapter with all its versions, or one version. Jobs that wait for it fail; running ones end."""
    named = named_adapter(id)
    if named is None:
        await _view(services, tenant, id)
        raise Conflict(
            f"{id!r} is no adapter: models are removed from the models file, aliases under /v1/models/aliases"
        )
    async with services.database.connection() as connection:
        version = None if named.version is None else id
        pointing = await aliases.pointing(connection, tenant, f"{named.base}:{named.name}", version)
        if pointing:
            why = f"the alias {pointing[0]!r} points to it: promote another model first"
            raise Conflict(why, code="model_in_use", field="id")
        removed, size = await adapters.remove(connection, tenant, named.base, named.name, named.version)
    if not removed:
        raise _unknown(named)
    services.limits.removed(tenant, size)
    return json({"id": id, "object": "model", "deleted": True})


async def _view(services: Services, tenant: str, id: str) -> dict[str, Any]:
    views = await _views(services, tenant)
    for view in views:
        if view["id"] == id:
            return view
    there = ", ".join(view["id"] for view in views[:50])
    raise NotFound(f"there is no model {id!r}; there are: {there}", code="model_not_found", field="id")


def _unknown(named: NamedAdapter) -> NotFound:
    return NotFound(f"there is no adapter {str(named)!r} of yours", code="adapter_not_found", field="id")


async def _views(services: Services, tenant: str) -> list[dict[str, Any]]:
    async with services.reads.connection(tenant) as connection:
        served = await claim.served(connection, services.models.names())
        registered = await adapters.newest(connection, tenant)
        named = await aliases.aliases(connection, tenant)
    return model_views(services.models, served, registered, named)
