"""Be notified when jobs end: add an endpoint, submit a job, verify the signed request that comes, remove the endpoint.

pip install standardwebhooks. The server must be allowed to reach this machine: WELIP_WEBHOOK_ALLOW=127.0.0.1 make up
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError
from welip import Client

WITHIN_S = 60


class Receiver(ThreadingHTTPServer):
    """Takes what is signed with `secret`, once each, and puts it into `events`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret = ""
        self.events: Queue[dict[str, Any]] = Queue()
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/in"


class Handler(BaseHTTPRequestHandler):
    """Answers at once and leaves the work for later: an answer that takes more than 15 s counts as none."""

    server: Receiver

    def do_POST(self) -> None:
        """204 for what is believed, also when it comes twice; 401 for anything else."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = Webhook(self.server.secret).verify(body, dict(self.headers.items()))
        except WebhookVerificationError:
            self.send_response(401)
        else:
            # An event may come twice, under one id.
            if (name := self.headers["webhook-id"]) not in self.server.seen:
                self.server.seen.add(name)
                self.server.events.put(event)
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def main() -> None:
    """From a job to its webhook."""
    with Receiver() as receiver, Client() as client:
        Thread(target=receiver.serve_forever, daemon=True).start()
        endpoint = client.webhooks.create(receiver.url, events=["job.succeeded", "job.failed"])
        receiver.secret = endpoint.secret
        try:
            job = client.submit("noop", {})
            while (event := receiver.events.get(timeout=WITHIN_S))["data"]["id"] != job.id:
                pass  # another job of this tenant ended
            print(f"{event['type']}: {event['data']['id']}")
        finally:
            client.webhooks.remove(endpoint.id)
            receiver.shutdown()


if __name__ == "__main__":
    main()
