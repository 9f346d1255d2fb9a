"""One promise, how often it was put to the test, and every time it was broken."""

import msgspec


class Verdict(msgspec.Struct, kw_only=True):
    invariant: str
    """`I1` … `I12`, of the trust model."""
    promise: str
    tested: int = 0
    unit: str = ""
    violations: list[str] = []
    """A sentence each, with the ids to look for in the logs."""
    notes: dict[str, int] = {}
    """Legal, and worth knowing."""

    @property
    def kept(self) -> bool:
        return not self.violations

    def note(self, what: str, count: int = 1) -> None:
        if count:
            self.notes[what] = self.notes.get(what, 0) + count
