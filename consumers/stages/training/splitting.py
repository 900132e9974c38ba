"""Which examples are trained on and which are held out: without duplicates, and no question on both sides."""

from collections.abc import Iterable

from consumers.stages.tables import fingerprint
from schemas.kinds.training.examples import Example


class Splitter:
    """Decides about one example after the other. Holds 8 bytes for each, so that millions stay small.

    `share`: how much is held out, by a hash of the conversation's opening: the same dataset is always split alike, and
    examples of one question, or of one conversation, go to the same side.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._held_out_below = share * 2.0**64
        self._seed = seed
        self._seen: set[int] = set()
        self._validation: set[int] = set()
        self.duplicates = 0
        self.overlapping = 0

    def held_out(self, examples: Iterable[Example]) -> list[Example]:
        """Those of a validation file that are no duplicates."""
        return [one for one in examples if self._new(one, self._validation)]

    def kept(self, examples: Iterable[Example]) -> list[tuple[Example, bool]]:
        """Those of the dataset that are neither duplicates nor in the validation file; whether each is held out."""
        found = []
        for one in examples:
            if fingerprint(one.line()) in self._validation:
                self.overlapping += 1
            elif self._new(one, self._seen):
                opening = one.prompt[: 1 + next(at for at, turn in enumerate(one.prompt) if turn.role == "user")]
                said = f"{self._seed}\n" + "\n".join(turn.content for turn in opening)
                found.append((one, fingerprint(said.encode()) < self._held_out_below))
        return found

    def _new(self, example: Example, seen: set[int]) -> bool:
        known = fingerprint(example.line())
        if known in seen:
            self.duplicates += 1
            return False
        seen.add(known)
        return True
