"""Stop strings in a text that comes in pieces: nothing of one is ever shown."""

from collections.abc import Sequence


class Stops:
    """Takes pieces and returns what may be shown: what may be the beginning of a stop string is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.hit = False
        """Whether a stop string came. Nothing is shown after it."""

    def feed(self, piece: str) -> str:
        """What may be shown now."""
        if self.hit:
            return ""
        self._held += piece
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        kept = next(
            (
                length
                for length in range(min(self._longest - 1, len(self._held)), 0, -1)
                if any(stop.startswith(self._held[-length:]) for stop in self._stops)
            ),
            0,
        )
        at = len(self._held) - kept
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def end(self) -> str:
        """The rest, once nothing more comes."""
        shown, self._held = self._held, ""
        return shown
