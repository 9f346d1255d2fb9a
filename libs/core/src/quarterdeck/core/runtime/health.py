"""Whether a process lives, and whether it should be given work. Framework-free: http.py and the api service show it.

Live: the event loop answers. Ready: the service said so, is not stopping, and every check passes.
"""

from collections.abc import Callable

import msgspec

Check = Callable[[], str]
"""Returns what is wrong; empty when all is well."""


class HealthSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the health endpoints answer as JSON: 200 when `ready`, else 503."""

    service: str
    ready: bool
    problems: dict[str, str]
    """By check, what is wrong. Empty when ready."""


class Health:
    """The state behind the health endpoints."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._ready = False
        self._stopping = False
        self._checks: dict[str, Check] = {}

    def add_check(self, name: str, check: Check) -> None:
        """Ask `check` at every snapshot; it must be quick and do no I/O."""
        self._checks[name] = check

    @property
    def started(self) -> bool:
        """What the service holds in memory was loaded. Stays true."""
        return self._ready

    def mark_ready(self) -> None:
        self._ready = True

    def mark_stopping(self) -> None:
        """Never ready again: load balancers look elsewhere while we drain."""
        self._stopping = True

    def snapshot(self) -> HealthSnapshot:
        problems = {name: problem for name, check in self._checks.items() if (problem := check())}
        if self._stopping:
            problems["service"] = "stopping"
        elif not self._ready:
            problems["service"] = "starting"
        return HealthSnapshot(service=self.service, ready=not problems, problems=problems)
