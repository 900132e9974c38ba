"""The server's answers about webhooks, as types. Fields that a newer server adds are kept, not refused."""

from producers.client.models import TOLERANT
from schemas.webhooks import (
    DeliveryLog,
    DeliveryView,
    EndpointCreated,
    EndpointView,
    Replayed,
    SecretView,
)


class Endpoint(EndpointView):
    """A receiver of the ends of all of a tenant's jobs."""

    model_config = TOLERANT


class NewEndpoint(EndpointCreated):
    """An endpoint that was just made. Keep its `secret`: it is never shown again."""

    model_config = TOLERANT


class Secret(SecretView):
    """A new signing secret. Keep it: it is never shown again."""

    model_config = TOLERANT


class Delivery(DeliveryView):
    """An event on its way to one receiver."""

    model_config = TOLERANT


class LoggedDelivery(DeliveryLog):
    """A delivery with its attempts."""

    model_config = TOLERANT


class Replay(Replayed):
    """How many deliveries are sent again, and whether there may be more."""

    model_config = TOLERANT
