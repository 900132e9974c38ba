"""What a model is told about one question: passages and conversation as text, put into a prompt."""

import re
from collections.abc import Sequence
from typing import Final

from schemas.text import Message

_TAG: Final = re.compile(r"</?\s*(?:passage|conversation)\b", re.IGNORECASE)
_TITLES: Final = {"user": "Q", "assistant": "A"}


def passages_block(shown: Sequence[str]) -> str:
    """The passages, numbered from 1. None can close its own tag: text that looks like one is broken up."""
    blocks = [f'<passage id="{number}">\n{_tame(text)}\n</passage>' for number, text in enumerate(shown, start=1)]
    return "\n".join(blocks)


def history_block(history: Sequence[Message]) -> str:
    """The turns of a conversation, one below the other."""
    return "\n".join(f"{_TITLES.get(turn.role, turn.role)}: {_tame(turn.content)}" for turn in history)


def _tame(text: str) -> str:
    return _TAG.sub(lambda tag: tag[0].replace("<", "&lt;"), text)
