"""A gateway that has stopped holds nothing, so other gateways may follow in the same process."""

import socket
import threading

import httpx

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


def uploading() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("welip-upload")}


async def test_the_threads_of_object_storage_end(postgres: PostgresSettings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # without listening
        url = f"s3+http://127.0.0.1:{closed.getsockname()[1]}/bucket"
        app = create_app(
            gateway=GatewaySettings.model_validate({"WELIP_AUTH": "off", "agents": False}),
            postgres=postgres,
            kafka=KafkaSettings(),
            blobs=BlobsSettings.model_validate({"url": url, "access_key": "a", "secret_key": "b"}),
            relay=RelaySettings(),
            rescue=RescueSettings(),
            webhook=WebhookSettings(),
        )
        async with app.router.lifespan_context(app):
            await app.state.services.database.opened.wait()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as http:
                answer = await http.post("/v1/files", files={"file": ("a.txt", b"x")}, data={"purpose": "documents"})
            assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
            assert uploading()
        assert not uploading()
