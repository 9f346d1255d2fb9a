"""How long to wait before a crashed child is started again: at once at first, then doubling, capped.

Owns numbers only. Called by the supervisor, which counts a child as healthy again when it ran long enough.
"""

from typing import Final

import msgspec


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Delays between the end of a child and its next start."""

    first_s: float = 0.1
    cap_s: float = 5.0
    steady_after_s: float = 10.0
    """A child that ran this long had recovered: its next crash counts as the first."""

    def delay_s(self, crashes: int) -> float:
        """`crashes`: in a row, the present one included; from 1."""
        return float(min(self.cap_s, self.first_s * 2 ** min(crashes - 1, 16)))

    def crashes_after(self, crashes: int, ran_s: float) -> int:
        """The new number of crashes in a row, for a child that ended after `ran_s`."""
        return 1 if ran_s >= self.steady_after_s else crashes + 1


DEFAULT: Final = RestartPolicy()
