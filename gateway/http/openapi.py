"""The OpenAPI document: FastAPI's, with errors described as problems (RFC 9457)."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from schemas.answers import Problem

CONTENT: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
FASTAPIS_OWN: Final = ("HTTPValidationError", "ValidationError")

API_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: `welip key create --tenant NAME` makes one.",
}

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for status, text in {
        400: "Not JSON",
        401: "No valid API key",
        403: "For operators only",
        404: "No such thing for this tenant",
        409: "Not in this state",
        412: "A condition of the request does not hold",
        413: "Too large",
        416: "Beyond the end",
        422: "A field is not valid",
        429: "A limit of the tenant is reached: retry after the seconds of Retry-After",
        503: "A dependency is away: retry",
    }.items()
}


def problems(*status: int) -> dict[int | str, dict[str, Any]]:
    """The documented problems of a route: the given ones, and those common to all routes."""
    return {code: PROBLEMS[code] for code in (*status, 401, 503)}


def form(properties: Mapping[str, Any], *, required: str) -> dict[str, Any]:
    """What a route that reads a multipart form adds to its operation."""
    schema = {"type": "object", "required": [required], "properties": dict(properties)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """Correct the document when it is first asked for."""
    generated = app.openapi

    def corrected() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(generated())
        return generated()

    app.openapi = corrected  # type: ignore[method-assign]


def _correct(document: dict[str, Any]) -> None:
    # Said here and not by a dependency, which FastAPI would resolve for every request.
    document["components"]["securitySchemes"] = {"ApiKey": API_KEY}
    for name, path in document["paths"].items():
        for operation in path.values():
            if name.startswith("/v1/"):
                operation["security"] = [{"ApiKey": []}]
            for status, response in operation["responses"].items():
                # FastAPI puts a model under the media type of the route's successes, and adds a 422 of its own shape.
                if int(status) >= 400 and "content" in response:
                    response["content"] = CONTENT
    for name in FASTAPIS_OWN:
        document["components"]["schemas"].pop(name, None)
