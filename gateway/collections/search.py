"""How a search reads its request: key, limits, name and body, in half of FastAPI's time, as a submission does."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.http.bodies import JsonRoute, refused, require_json, strictly
from gateway.services import services_of
from schemas.filters import Filter
from schemas.kinds.inference import Question
from schemas.names import CollectionName


class SearchBody(BaseModel):
    """A query; `filter` and `rerank` as for inference."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"query": "출장 숙박비", "top_k": 5, "filter": {"year": {"gte": 2020}}}},
    )

    query: Question
    top_k: int = Field(5, ge=1, le=100)
    filter: Filter = Field(default_factory=dict)
    rerank: bool | None = Field(None, description="null: if the deployment has a reranker.")


BODY: Final = TypeAdapter(SearchBody)
NAME: Final[TypeAdapter[str]] = TypeAdapter(CollectionName)


class SearchRoute(JsonRoute):
    """The route of a search: its signature documents it, and this resolves it by hand (decision 0011)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Raises what FastAPI's own handler would: `RequestValidationError`, and what the endpoint raises."""

        async def resolved(request: Request) -> Response:
            services = await services_of(request)
            tenant = await services.keys.tenant(request.headers.get("authorization"))
            await services.limits.submission(tenant)
            sent = await request.body()
            if sent:
                require_json(request)
            try:
                name = NAME.validate_python(request.path_params["name"])
            except ValidationError as error:
                raise refused(error, "path", "name") from error
            answer: Response = await self.endpoint(
                name=name, body=strictly(BODY, sent), request=request, services=services, tenant=tenant
            )
            return answer

        return resolved
