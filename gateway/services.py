"""What routes need, made once per process and found on the application."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from faststream.kafka import KafkaBroker

from gateway.collections.workers import Searches
from gateway.http.auth import Asker, Keys
from gateway.http.limits import Limits
from gateway.http.reads import Reads
from gateway.jobs.ending import Endings
from gateway.jobs.feed import Feed
from gateway.jobs.submit import Submitter
from gateway.webhooks.receivers import Receivers
from infra.blobs.folder import FolderBlobs
from infra.postgres.aliases import PostgresAliases
from infra.postgres.database import Database
from infra.registering import Registrar
from infra.settings import GatewaySettings
from producers.agents import Agents
from schemas.models import Models

if TYPE_CHECKING:
    from infra.blobs.s3 import MinioBlobs


@dataclass(frozen=True, slots=True)
class Services:
    """What the gateway is made of."""

    settings: GatewaySettings
    database: Database
    broker: KafkaBroker
    agents: Agents | None
    blobs: "FolderBlobs | MinioBlobs"
    models: Models
    submitter: Submitter
    receivers: Receivers
    endings: Endings
    feed: Feed
    keys: Keys
    limits: Limits
    reads: Reads
    registrar: Registrar
    searches: Searches
    aliases: PostgresAliases


async def services_of(request: Request) -> Services:
    """The services of the application that serves this request.

    Async, because FastAPI calls synchronous ones in a thread.
    """
    found: Any = request.app.state.services
    assert isinstance(found, Services)
    return found


async def tenant(request: Request) -> str:
    """Whose request this is. Raises `Unauthenticated`."""
    return await (await services_of(request)).keys.tenant(request.headers.get("authorization"))


async def asker(request: Request) -> Asker:
    """Who sends this request. Raises `Unauthenticated`."""
    return await (await services_of(request)).keys.asker(request.headers.get("authorization"))


ServicesDep = Annotated[Services, Depends(services_of)]
Tenant = Annotated[str, Depends(tenant)]
Asking = Annotated[Asker, Depends(asker)]
