"""`/v1/models`: which models there are, what they can do, and whether anybody serves them now."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from gateway.http.answers import json
from gateway.http.openapi import problems
from gateway.models.views import ModelList, ModelView, model_views
from gateway.services import Services, ServicesDep, Tenant
from infra.postgres.queries import claim
from schemas.errors import NotFound

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", summary="List models", response_model=ModelList, responses=problems())
async def listing(services: ServicesDep, tenant: Tenant) -> Response:
    """Every model of the deployment."""
    return json({"object": "list", "data": await _views(services)})


@router.get("/{id}", summary="Look at a model", response_model=ModelView, responses=problems(404))
async def model(
    id: Annotated[str, Path(max_length=200, description="Its name.")], services: ServicesDep, tenant: Tenant
) -> Response:
    """A model by its name."""
    for view in await _views(services):
        if view["id"] == id:
            return json(view)
    there = ", ".join(services.models.names())
    raise NotFound(f"there is no model {id!r}; there are: {there}", code="model_not_found", field="id")


async def _views(services: Services) -> list[dict[str, Any]]:
    async with services.database.connection() as connection:
        served = await claim.served(connection, services.models.names())
    return model_views(services.models, served)
