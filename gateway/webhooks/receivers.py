"""Who may be notified of a job's end: allowed addresses, and tenants whose events can be signed."""

import orjson

from infra.postgres.database import Database
from infra.postgres.queries import webhooks
from infra.settings import WebhookSettings
from infra.webhooks.addresses import check_url, origin_of
from schemas.errors import Conflict, InvalidInput
from schemas.webhooks import JobWebhook, events_of


class Receivers:
    """Checks receivers before anything is stored."""

    def __init__(self, database: Database, settings: WebhookSettings) -> None:
        self._database = database
        self._settings = settings
        self._signing: set[str] = set()

    def checked(self, url: str, *, field: str = "url") -> str:
        """The URL in its normal form.

        Raises `InvalidInput`, which names `field`, for an address that webhooks must not go to.
        """
        try:
            return check_url(url, self._settings)
        except InvalidInput as error:
            raise InvalidInput(error.message, code=error.reason, field=field) from error

    async def of_job(self, tenant: str, kind: str, hook: JobWebhook) -> str:
        """The receiver that a submission names, as JSON, as the job's row keeps it: `{"url", "origin", "events"}`.

        Raises `InvalidInput`, and `Conflict` when the tenant has no secret that would sign for it.
        """
        url = self.checked(hook.url, field="webhook.url")
        kept = {"url": url, "origin": origin_of(url), "events": _events(hook, kind)}
        await self._require_secret(tenant)
        return orjson.dumps(kept).decode()

    async def _require_secret(self, tenant: str) -> None:
        if tenant in self._signing:  # a tenant that has a secret never loses it: it is only replaced
            return
        async with self._database.connection() as connection:
            found = await webhooks.has_secret(connection, tenant)
        if not found:
            raise Conflict(
                "nothing could sign this job's webhook: make a signing secret first, once, with"
                " POST /v1/webhooks/secret or `welip webhooks secret`",
                code="no_signing_secret",
                field="webhook",
            )
        self._signing.add(tenant)


def _events(hook: JobWebhook, kind: str) -> list[str]:
    fitting = events_of(kind)
    for event in hook.events or ():
        if event not in fitting:
            raise InvalidInput(
                f"{event} never tells of a job of kind {kind}: choose of {', '.join(fitting)}", field="webhook.events"
            )
    return list(hook.events or fitting)
