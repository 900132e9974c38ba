"""`welip gateway`: the HTTP process."""

import os
import sys
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from gateway.app import create_app
from gateway.http.connections import LimitedConnection
from gateway.services import Services
from infra.logging import configure_logging
from infra.loopback import is_loopback
from infra.models import models_of_environment
from infra.process import end_within, settle
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    MlflowSettings,
    PostgresSettings,
    PromptSettings,
    RelaySettings,
    RescueSettings,
    RetentionSettings,
    TracingSettings,
    WebhookSettings,
)
from infra.telemetry import configure_tracing, stop_tracing
from schemas.errors import JobError

log = structlog.get_logger(__name__)

ENDS_WITHIN_S: Final = 30
"""After a defect; nothing else ends it when its stop hangs."""


def main() -> int:
    """0 after a clean stop, 2 when the settings do not fit together, 70 when relay or rescuer met a defect."""
    configure_logging(LogSettings(), process="gateway")
    gateway = GatewaySettings()
    if gateway.auth == "off" and not is_loopback(gateway.host):
        log.error("gateway.cannot_start", error=f"WELIP_AUTH=off is for loopback only, not for {gateway.host}")
        return 2
    try:
        configure_tracing(TracingSettings(), service="welip-gateway")
        app = create_app(
            gateway=gateway,
            postgres=PostgresSettings(),
            kafka=KafkaSettings(),
            blobs=BlobsSettings(),
            relay=RelaySettings(),
            rescue=RescueSettings(),
            retention=RetentionSettings(),
            limit=LimitSettings(),
            mlflow=MlflowSettings(),
            webhook=WebhookSettings(),
            models=models_of_environment(),
            prompts=PromptSettings(),
        )
    except JobError as error:
        log.error("gateway.cannot_start", code=error.reason, error=error.message)
        return 2
    config = uvicorn.Config(
        app,
        host=gateway.host,
        port=gateway.port,
        log_config=None,
        access_log=False,
        loop="uvloop",
        http=LimitedConnection,
        # Longer than clients and proxies keep an idle connection: the server must not be the one that closes first.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = _Server(config, app)
    settle()
    try:
        server.run()
    finally:
        stop_tracing()
    return os.EX_SOFTWARE if server.met_defect else 0


class _Server(uvicorn.Server):
    """When told to stop, it first answers those who wait for a job's end, so that the stop need not wait for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self.met_defect = False

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop. Without its relay and rescuer the process must be restarted."""
        services: Services = self._app.state.services
        if services.agents is not None and services.agents.ended:
            self.met_defect = True
            end_within(ENDS_WITHIN_S)
            services.endings.release()
            return True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self._app.state.services.endings.release()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    sys.exit(main())
