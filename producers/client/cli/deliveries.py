"""`welip webhooks deliveries`, `replay` and `test`: what receivers got, how they answered, and resending."""

from typing import TYPE_CHECKING, Annotated

import typer

from producers.client.cli.failures import WrongUse
from producers.client.cli.output import JsonFlag, age, moment, one_line, plain, print_fields, print_json, print_table
from producers.client.cli.terminal import note, say
from producers.client.cli.times import parse_since

if TYPE_CHECKING:
    from producers.client.webhook_models import LoggedDelivery


def show_all(
    ctx: typer.Context,
    endpoint: Annotated[str | None, typer.Argument(metavar="[ID]", help="Those of one endpoint, wh_...")] = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered, failed.")] = None,
    job: Annotated[str | None, typer.Option(help="Those that tell of one job, job_...")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20,
    json: JsonFlag = False,
) -> None:
    """List deliveries, newest first."""
    if endpoint and job:
        raise WrongUse("deliveries are listed by endpoint or by job, not by both")
    with ctx.obj.connect() as client:
        page = client.webhooks.deliveries(endpoint, state=state, job=job, limit=limit)
    if json:
        print_json(plain(page))
    elif page.data:
        print_table(
            ["id", "type", "state", "tries", "to", "job", "age"],
            [[d.id, d.type, d.state, d.attempts, d.url, d.job, age(d.created_at)] for d in page.data],
        )
    else:
        note("no such deliveries")


def replay(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="A delivery, evt_..., or an endpoint, wh_...")],
    since: Annotated[
        str | None, typer.Option(help="Of an endpoint: what failed since then: 12h, 5d, 2026-01-31T09:00.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Send a delivery again, or all that failed at an endpoint; receivers see the same webhook-id."""
    one = id.startswith("evt_")
    if one == (since is not None):
        raise WrongUse("--since goes with an endpoint, wh_..., and an endpoint needs it; a delivery, evt_..., does not")
    with ctx.obj.connect() as client:
        if one:
            client.webhooks.replay(id)
            count = 1
        else:
            when = parse_since(since or "")
            found = client.webhooks.replay_failed(id, when)
            count = found.replayed
            while found.has_more:
                found = client.webhooks.replay_failed(id, when)
                count += found.replayed
    print_json({"replayed": count}) if json else say(f"{count} to be sent again")


def send_test(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id, wh_...")],
    json: JsonFlag = False,
) -> None:
    """Send a test event to an endpoint."""
    with ctx.obj.connect() as client:
        sent = client.webhooks.send_test(id)
    if json:
        print_json(plain(sent))
    else:
        say(sent.id)
        note(f"see the result with: welip webhooks show {sent.id}")


def tell(delivery: "LoggedDelivery", json: bool) -> None:
    """Print a delivery with each attempt."""
    if json:
        print_json(plain(delivery))
        return
    print_fields(
        {
            "id": delivery.id,
            "type": delivery.type,
            "state": delivery.state,
            "to": delivery.url,
            "endpoint": delivery.endpoint,
            "job": delivery.job,
            "created": moment(delivery.created_at),
            "next try": moment(delivery.due_at),
            "ended": moment(delivery.ended_at),
        }
    )
    if delivery.log:
        print_table(
            ["try", "at", "answer", "ms"],
            [
                [a.attempt, moment(a.at), one_line(f"{a.status or a.error} {a.answer or ''}"), a.ms]
                for a in delivery.log
            ],
        )
