"""The OpenAPI document: FastAPI's, with errors described as what they are, problems (RFC 9457)."""

from typing import Any, Final

from fastapi import FastAPI

PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
FASTAPIS_OWN: Final = ("HTTPValidationError", "ValidationError")


API_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: `welip key create --tenant NAME` makes one.",
}


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
                    response["content"] = PROBLEM
    for name in FASTAPIS_OWN:
        document["components"]["schemas"].pop(name, None)
