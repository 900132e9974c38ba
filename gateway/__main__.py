"""`welip gateway`: the HTTP process."""

import ipaddress
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from gateway.app import create_app
from infra.logging import configure_logging
from infra.settings import (
    BlobsSettings,
    GatewaySettings,
    KafkaSettings,
    LogSettings,
    PostgresSettings,
    RelaySettings,
    RescueSettings,
    TracingSettings,
)
from infra.telemetry import configure_tracing, stop_tracing
from schemas.errors import JobError

log = structlog.get_logger(__name__)


def main() -> int:
    """0 after a clean stop, 2 when the settings do not fit together."""
    configure_logging(LogSettings(), process="gateway")
    gateway = GatewaySettings()
    if gateway.auth == "off" and not _is_loopback(gateway.host):
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
        http="httptools",
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    try:
        _Server(config, app).run()
    finally:
        stop_tracing()
    return 0


class _Server(uvicorn.Server):
    """Told to stop, it first answers those who wait for a job's end: the stop must not wait for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self._app.state.services.endings.release()
        super().handle_exit(sig, frame)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
