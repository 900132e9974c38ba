"""A collection's settings for people: one line each, and the consequences of a change."""

from typing import TYPE_CHECKING, Any

from producers.client.cli.output import plain
from producers.client.cli.terminal import note

if TYPE_CHECKING:
    from producers.client.models import Collection


def setting_lines(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Each setting by its dotted name."""
    return [(name, _short(value)) for name, value in _flat(settings).items()]


def note_change(before: "Collection", change: dict[str, Any]) -> None:
    """Say what changes and with which consequences; the server reports an invalid change."""
    from pydantic import ValidationError

    from schemas.collections import STORED, CollectionSettings

    try:
        old = CollectionSettings.model_validate(before.settings, context=STORED)
        new = old.changed(change)
    except ValidationError:
        return
    was, will = _flat(plain(old)), _flat(plain(new))
    changed = [name for name, value in will.items() if value != was[name]]
    for name in changed:
        note(f"{name}: {_short(was[name])} -> {_short(will[name])}")
    if not changed:
        note("these are its settings already")
    elif old.shapes_vectors() != new.shapes_vectors():
        note(indexed_again(before))
    else:
        note("at once: nothing is indexed again")


def indexed_again(found: "Collection") -> str:
    """What reindexing means for searches."""
    return f"all {found.documents:,} documents are indexed again; until that is done searches use the present index"


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """`{"fusion": {"depth": 50}}` as `{"fusion.depth": 50}`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": value}
    return flat


def _short(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case [_, *_]:
            shown = ", ".join(" = ".join(one) if isinstance(one, list) else str(one) for one in value[:3])
            return f"{len(value)}: {shown}{', ...' if len(value) > 3 else ''}"
        case list():
            return "none"
    return str(value)
