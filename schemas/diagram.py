"""Draws the life cycle from its table for the docs; `python -m schemas.diagram FILE` renews the blocks of a file."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Final

from schemas.lifecycle import MOVES, TERMINAL, JobState

LABEL_WIDTH: Final = 32
"""Characters of a line of an arrow's label."""


def mermaid() -> str:
    """Every legal move as a Mermaid state diagram, fenced for Markdown."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", f"    [*] --> {JobState.QUEUED}"]
    for old, moves in MOVES.items():
        lines += [f"    {old} --> {new}: {_label(why)}" for new, why in moves.items()]
    lines += [f"    {state} --> [*]" for state in JobState if state in TERMINAL]
    return "\n".join([*lines, "```"])


def table() -> str:
    """Every legal move with its reason, as a Markdown table."""
    rows = [f"| `{old}` | `{new}` | {why} |" for old, moves in MOVES.items() for new, why in moves.items()]
    return "\n".join(["| from | to | why |", "| --- | --- | --- |", *rows])


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {"diagram": mermaid, "moves": table}
"""The content between `<!-- generated: NAME -->` and `<!-- end: NAME -->`."""


def renewed(document: str) -> str:
    """`document` with its generated blocks renewed. Raises `KeyError` for a block of an unknown name."""
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end: \2 -->)",
        lambda block: f"{block[1]}{BLOCKS[block[2]]()}\n{block[3]}",
        document,
        flags=re.DOTALL,
    )


def main(paths: list[str]) -> int:
    """Renew the files at `paths` in place."""
    for path in map(Path, paths):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def _label(why: str) -> str:
    # Mermaid ends a label at its second colon.
    return "<br/>".join(wrap(why.replace(":", " –"), LABEL_WIDTH))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
