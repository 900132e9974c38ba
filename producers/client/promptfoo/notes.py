"""What a configuration says and an evaluation cannot: named, so that nothing is dropped silently."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """`lost`: what has no counterpart; `changed`: what is measured in another way. Each with how often it came."""

    lost: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    def lose(self, what: str, why: str) -> None:
        """Note what was left out."""
        self.lost[f"{what}: {why}"] += 1

    def change(self, what: str, how: str) -> None:
        """Note what was taken over in another way."""
        self.changed[f"{what}: {how}"] += 1
