"""A gateway for tests: its routes on this test's database, without the agents that would do its jobs."""

from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI

from gateway.app import create_app
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
    WebhookSettings,
)


def gateway_app(
    postgres: PostgresSettings, blobs: Path, *, auth: Literal["on", "off"] = "off", **settings: Any
) -> FastAPI:
    """The application, not yet started. `blobs`: the folder of its files; `settings`: what else it is given."""
    return create_app(
        gateway=GatewaySettings.model_validate({"WELIP_AUTH": auth, "agents": False}),
        postgres=postgres,
        kafka=KafkaSettings(),
        blobs=BlobsSettings.model_validate({"url": f"file://{blobs}"}),
        relay=RelaySettings(),
        rescue=RescueSettings(),
        webhook=WebhookSettings(),
        **settings,
    )
