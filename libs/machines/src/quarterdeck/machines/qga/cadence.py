"""How often to ask the guest whether something happened: soon at first, then ever more slowly."""

from typing import Final

DEFAULT_FIRST_S: Final = 0.002
DEFAULT_CEILING_S: Final = 0.5
_GROWTH: Final = 1.25
"""The end of a command that ran for t is noticed at most t / 4 late."""


class Cadence:
    """The pauses between looks. Grows by a quarter each time, from `first_s` up to `ceiling_s`."""

    def __init__(self, first_s: float = DEFAULT_FIRST_S, ceiling_s: float = DEFAULT_CEILING_S) -> None:
        """Raises ValueError unless 0 < first_s ≤ ceiling_s."""
        if not 0 < first_s <= ceiling_s:
            raise ValueError(f"expected 0 < first_s <= ceiling_s, got {first_s} and {ceiling_s}")
        self._first_s = first_s
        self._ceiling_s = ceiling_s
        self._next_s = first_s

    def next_s(self) -> float:
        """The pause before the next look."""
        pause_s = self._next_s
        self._next_s = min(pause_s * _GROWTH, self._ceiling_s)
        return pause_s

    def restart(self) -> None:
        """Something happened: more may follow soon."""
        self._next_s = self._first_s
