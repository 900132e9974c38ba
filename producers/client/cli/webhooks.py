"""`welip webhooks`: who is notified when jobs end, and with which secrets."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from producers.client.cli import deliveries
from producers.client.cli.output import JsonFlag, age, moment, plain, print_fields, print_json, print_table
from producers.client.cli.terminal import note, say
from producers.client.cli.times import parse_time

if TYPE_CHECKING:
    from producers.client.webhook_models import Endpoint

EndpointArgument = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id, wh_...")]
Overlap = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How long the former secret signs too: 30min, 12h, 7d, 0s. Default: 24h."),
]
Events = Annotated[
    list[str] | None, typer.Option("--event", "-e", help="job.failed, job.succeeded, ...; may be repeated.")
]

KEEP: Final = "keep it: it is not shown again"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Webhooks: who is notified when jobs end, and the deliveries.")
    group.command("add")(add)
    group.command("list")(show_all)
    group.command("show")(show)
    group.command("change")(change)
    group.command("enable")(enable)
    group.command("disable")(disable)
    group.command("rotate")(rotate)
    group.command("remove")(remove)
    group.command("test")(deliveries.send_test)
    group.command("deliveries")(deliveries.show_all)
    group.command("replay")(deliveries.replay)
    group.command("secret")(secret)
    app.add_typer(group, name="webhooks", rich_help_panel="Jobs")


def add(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Where to send events, https://...")],
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    json: JsonFlag = False,
) -> None:
    """Add an endpoint that is notified when any job ends, and print its secret, this once."""
    with ctx.obj.connect() as client:
        made = client.webhooks.create(url, events=event, description=description)
    if json:
        print_json(plain(made))
    else:
        print_fields({"id": made.id, "url": made.url, "events": ", ".join(made.events), "secret": made.secret})
        note(f"the secret verifies the events; {KEEP}")


def show_all(ctx: typer.Context, json: JsonFlag = False) -> None:
    """List the endpoints."""
    with ctx.obj.connect() as client:
        found = client.webhooks.endpoints()
    if json:
        print_json(plain(found))
    elif found:
        print_table(["id", "url", "events", "state"], [[e.id, e.url, ", ".join(e.events), _standing(e)] for e in found])
    else:
        note("no endpoint yet: add one with `welip webhooks add URL`")


def show(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="An endpoint, wh_..., or a delivery, evt_...")],
    json: JsonFlag = False,
) -> None:
    """Show an endpoint, or a delivery with each attempt."""
    with ctx.obj.connect() as client:
        if id.startswith("evt_"):
            deliveries.tell(client.webhooks.delivery(id), json)
        else:
            _tell(client.webhooks.endpoint(id), json)


def change(
    ctx: typer.Context,
    id: EndpointArgument,
    url: Annotated[str | None, typer.Option(help="Where to send events from now on.")] = None,
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    json: JsonFlag = False,
) -> None:
    """Change the given fields of an endpoint."""
    with ctx.obj.connect() as client:
        _tell(client.webhooks.change(id, url=url, events=event, description=description), json)


def enable(ctx: typer.Context, id: EndpointArgument, json: JsonFlag = False) -> None:
    """Enable an endpoint again and forget its failures."""
    with ctx.obj.connect() as client:
        _tell(client.webhooks.enable(id), json)
    if not json:
        note(f"what failed before is sent again by: welip webhooks replay {id} --since 5d")


def disable(ctx: typer.Context, id: EndpointArgument, json: JsonFlag = False) -> None:
    """Disable an endpoint: nothing more is sent to it."""
    with ctx.obj.connect() as client:
        _tell(client.webhooks.disable(id), json)


def rotate(ctx: typer.Context, id: EndpointArgument, overlap: Overlap = None, json: JsonFlag = False) -> None:
    """Make a new secret for an endpoint and print it, this once."""
    seconds = None if overlap is None else parse_time(overlap).total_seconds()
    with ctx.obj.connect() as client:
        made = client.webhooks.rotate(id, seconds)
    _print_secret(made.secret, made.previous_until) if not json else print_json(plain(made))


def secret(ctx: typer.Context, overlap: Overlap = None, json: JsonFlag = False) -> None:
    """Make a new secret for the receivers that jobs name, and print it, this once."""
    seconds = None if overlap is None else parse_time(overlap).total_seconds()
    with ctx.obj.connect() as client:
        made = client.webhooks.make_secret(seconds)
    _print_secret(made.secret, made.previous_until) if not json else print_json(plain(made))


def remove(ctx: typer.Context, id: EndpointArgument, json: JsonFlag = False) -> None:
    """Remove an endpoint with its deliveries."""
    with ctx.obj.connect() as client:
        gone = client.webhooks.remove(id)
    print_json(plain(gone)) if json else say(f"removed {id}")


def _standing(endpoint: "Endpoint") -> str:
    if endpoint.disabled_at:
        return f"disabled ({endpoint.disabled_reason}) for {age(endpoint.disabled_at)}"
    return f"failing for {age(endpoint.failing_since)}" if endpoint.failing_since else "enabled"


def _tell(endpoint: "Endpoint", json: bool) -> None:
    if json:
        print_json(plain(endpoint))
        return
    print_fields(
        {
            "id": endpoint.id,
            "url": endpoint.url,
            "description": endpoint.description or None,
            "events": ", ".join(endpoint.events),
            "state": _standing(endpoint),
            "two secrets until": moment(endpoint.previous_until),
            "created": moment(endpoint.created_at),
        }
    )


def _print_secret(secret: str, previous_until: datetime | None) -> None:
    say(secret)
    until = moment(previous_until)
    note(KEEP + (f"; the former one signs too until {until}" if until else ""))
