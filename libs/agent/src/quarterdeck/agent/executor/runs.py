"""What an order becomes when it gets its slot: a process, a handler's call, or a command for a guest.

Owns the choice, and the output that a run fills. How each of them runs is in process_run.py, handler_run.py and
guests/. Called by commands.py.
"""

from quarterdeck.agent.executor.guest_port import GuestPort
from quarterdeck.agent.executor.handler_run import HandlerRun, HandlerSpec
from quarterdeck.agent.executor.journal.entries import Entry
from quarterdeck.agent.executor.orders import WorkOrder
from quarterdeck.agent.executor.outcome import Run
from quarterdeck.agent.executor.proc_table import marker_of
from quarterdeck.agent.executor.process_run import ProcessRun, ProcessTools
from quarterdeck.agent.executor.run_spec import RunSpec
from quarterdeck.agent.executor.shell import Plan
from quarterdeck.agent.executor.spool import Spools
from quarterdeck.agent.executor.streams import CommandOutput
from quarterdeck.agent.guests.plans import GuestCall, GuestExecution
from quarterdeck.agent.handlers import CommandExecutor, Handlers


class Runs:
    """Makes them; `Commands` sees them through."""

    def __init__(
        self, processes: ProcessTools, spools: Spools, handlers: Handlers, guests: GuestPort | None
    ) -> None:
        """`guests`: None when this agent looks for none; then no order for one gets here."""
        self._processes = processes
        self._spools = spools
        self._handlers = handlers
        self._guests = guests

    def make(self, entry: Entry, work: WorkOrder) -> Run:
        match work.plan:
            case None:
                return self._call(work, self._handlers)
            case GuestCall():
                return self._call(work, self._need_guests().caller(work.plan))
            case GuestExecution():
                return self._need_guests().run(work.plan, _spec(work), self._open_output(entry, work))
            case Plan():
                return ProcessRun(work.plan, _spec(work), self._open_output(entry, work), self._processes)

    def _call(self, work: WorkOrder, executor: CommandExecutor) -> Run:
        spec = HandlerSpec(
            command_id=work.key.command_id,
            attempt=work.key.attempt,
            command_type=work.command_type,
            payload=work.payload,
            timeout_s=work.timeout_s,
            grace_s=work.grace_s,
        )
        return HandlerRun(spec, executor, self._processes.clock)

    def _open_output(self, entry: Entry, work: WorkOrder) -> CommandOutput:
        entry.output = self._spools.output(work.key, work.max_output_bytes)
        self._processes.outlet.add(entry.output)
        return entry.output

    def _need_guests(self) -> GuestPort:
        assert self._guests is not None, "orders for guests are refused without any"
        return self._guests


def _spec(work: WorkOrder) -> RunSpec:
    return RunSpec(
        marker=marker_of(work.key),
        working_directory=work.working_directory,
        environment=work.environment,
        timeout_s=work.timeout_s,
        no_output_timeout_s=work.no_output_timeout_s,
        grace_s=work.grace_s,
    )
