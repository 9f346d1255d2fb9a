"""Progress of commands that print: how much is stored and its tail, at most every `progress_interval_ms` per command.

Nothing is kept for commands that are silent, and no timer runs while all are. Called by `link_output`.
"""

import asyncio

from quarterdeck.contracts.reports import Progress
from quarterdeck.core.clock import Clock
from quarterdeck.gateway.link_command import LinkCommand, progress_report
from quarterdeck.gateway.reports_out import ReportPublisher
from quarterdeck.gateway.settings import GatewaySettings


class ProgressBoard:
    def __init__(self, reports: ReportPublisher, clock: Clock, settings: GatewaySettings) -> None:
        self._reports = reports
        self._clock = clock
        self._interval_s = settings.progress_interval_ms / 1000
        self._changed: dict[LinkCommand, tuple[str, str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def mark(self, tenant: str, agent_id: str, command: LinkCommand) -> None:
        """More of `command`'s output is stored."""
        self._changed[command] = (tenant, agent_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tell)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        at_ms = self._clock.now_ms()
        for command, (tenant, agent_id) in changed.items():
            if command.ended:
                continue
            report = Progress(
                command_id=command.command_id,
                attempt=command.attempt,
                agent_id=agent_id,
                at_ms=at_ms,
                stdout=progress_report(command.stdout),
                stderr=progress_report(command.stderr),
            )
            self._reports.add(tenant, report)
