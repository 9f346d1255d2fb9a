"""The executor: messages of the gateway in, frames for the gateway out. An ExecutorPort.

Owns the conversation with the gateway: what is said when a link opens, which message goes where, what is repeated. What
becomes of a command is commands.py's business.
"""

import asyncio
import itertools
from typing import Final

import msgspec
import structlog
from google.protobuf.message import DecodeError as ProtobufDecodeError

from quarterdeck.agent.executor.commands import Commands, CommandTools
from quarterdeck.agent.executor.disk_space import DiskSpace
from quarterdeck.agent.executor.guest_port import GuestPort
from quarterdeck.agent.executor.journal.entries import CommandKey, Entry, Phase
from quarterdeck.agent.executor.journal.journal import Journal, JournalSettings
from quarterdeck.agent.executor.outlet import Outlet
from quarterdeck.agent.executor.pipes import Drain
from quarterdeck.agent.executor.proc_table import ProcTable, boot_id
from quarterdeck.agent.executor.process_run import ProcessTools
from quarterdeck.agent.executor.reaper import Reaper, become_subreaper
from quarterdeck.agent.executor.recovery import Recovery
from quarterdeck.agent.executor.reports import Reporter
from quarterdeck.agent.executor.runs import Runs
from quarterdeck.agent.executor.server_clock import ServerClock
from quarterdeck.agent.executor.shell import EXEC, SHELL, prepare_scratch
from quarterdeck.agent.executor.spool import Spools, SpoolSettings
from quarterdeck.agent.executor.watcher import Watcher
from quarterdeck.agent.handlers import Handlers
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.contracts.agent_calls import CATALOGUE
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.links import Epoch
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

log = structlog.get_logger()

_LOOK_INTERVAL_S: Final = 0.5

_HELLO_ENTRIES: Final = 4096
"""Most journal entries in one Hello: the frame stays far below its limit."""

_PHASES: Final = {
    Phase.RECEIVED: pb.RECEIVED,
    Phase.STARTING: pb.STARTING,
    Phase.RUNNING: pb.RUNNING,
    Phase.EXITED: pb.EXITED,
}


class Executor:
    """Make it inside a running loop, start it, join it to a front, and in the end stop it."""

    def __init__(
        self,
        settings: ExecutorSettings,
        handlers: Handlers | None = None,
        *,
        journal: JournalSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`journal`: for tests that lose power or reboot; made from `settings` otherwise. Raises BadAgentSettings."""
        clock = self._clock = clock or SystemClock()
        self._settings = settings
        self._handlers = handlers or Handlers()
        journal = journal or JournalSettings(directory=settings.journal_dir, boot_id=boot_id())
        self._journal = Journal(journal)
        self._outlet = Outlet(clock)
        self._spools = Spools(
            SpoolSettings(
                directory=settings.spool_dir,
                limit_bytes=settings.max_spool_bytes,
                command_limit_bytes=settings.command_spool_bytes,
                engaged=lambda: self._outlet.stuck,
            )
        )
        self._reporter = Reporter(self._journal, self._outlet, self._spools, clock)
        watcher = Watcher()
        self._processes = ProcessTools(
            settings, self._outlet, ProcTable(), watcher, Drain(watcher), clock, set()
        )
        self._guests = _guest_port(self._processes)
        self._told_guests: tuple[str, ...] = ()
        """Names in the latest Hello or GuestList."""
        disk = DiskSpace(settings.journal_dir, settings.disk_reserve_bytes, clock)
        runs = Runs(self._processes, self._spools, self._handlers, self._guests)
        self._server_clock = ServerClock(clock, self._journal)
        self._commands = Commands(
            CommandTools(
                self._journal, self._reporter, self._processes, runs, disk, self._guests, self._server_clock
            )
        )
        self._recovery = Recovery(
            self._journal, self._reporter, self._processes.table, journal.boot_id, self._guests
        )
        self._chores: list[asyncio.Task[None]] = []

    # ---- Life

    async def start(self) -> None:
        """Take up what an earlier executor left, and begin.

        Raises OSError when a directory cannot be made or read, JournalInUse beside another executor, RecordUnknown
        when a newer agent has written the journal.
        """
        self._journal.open()  # first: beside another executor, nothing of it may be touched
        prepare_scratch(self._settings.scratch_dir)
        self._spools.prepare(
            {entry.key for entry in self._journal.open_entries() if entry.phase is Phase.EXITED}
        )
        if not become_subreaper():
            log.warning("executor.subreaper_refused")
        if self._guests is not None:
            await self._guests.start(self._announce_guests)
        self._recovery.run(self._commands.resume)
        reaper = Reaper(self._processes.table, self._processes.tracked_pids.__contains__)
        self._chores = [
            asyncio.create_task(self._recovery.clean_up(), name="executor.clean_up"),
            asyncio.create_task(reaper.run(), name="executor.reaper"),
            asyncio.create_task(self._repeat_reports(), name="executor.repeat_reports"),
            asyncio.create_task(self._look_after_waiting(), name="executor.look_after_waiting"),
        ]

    async def stop(self, *, grace_s: float) -> None:
        """End all commands, and wait up to `grace_s` until the gateway knows."""
        await self._commands.stop(grace_s=grace_s)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._guests is not None:
            await self._guests.stop()
        self._processes.drain.close()
        self._processes.watcher.close()
        self._journal.close()

    async def _repeat_reports(self) -> None:
        while True:
            await asyncio.sleep(self._settings.repeat_reports_s / 3)
            self._outlet.repeat_overdue(self._settings.repeat_reports_s)

    async def _look_after_waiting(self) -> None:
        """Orders that expire, and children whose output is stuck: to disk with it."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            self._commands.expire()
            if self._outlet.stuck:
                self._commands.make_way()

    # ---- The port

    async def receive(self) -> bytes:
        return await self._outlet.next_frame()

    async def send(self, frame: bytes) -> None:
        try:
            messages = pb.GatewayFrame.FromString(frame).messages
        except ProtobufDecodeError as error:
            raise DecodeError("a frame for the executor does not decode") from error
        for message in messages:
            try:
                self._handle(message)
            except Exception:
                # One message that we handle wrongly must not take the link, and with it all commands, down.
                log.exception("executor.message_failed", kind=message.WhichOneof("body"))

    def _handle(self, message: pb.GatewayMessage) -> None:
        match message.WhichOneof("body"):
            case "order":
                self._order(message.order)
            case "report_ack":
                for seq in message.report_ack.report_seq:
                    self._reporter.acknowledged(seq)
                self._commands.confirmed()
            case "output_ack":
                self._output_ack(message.output_ack)
            case "terminate":
                self._commands.terminate(message.terminate)
            case "credit":
                self._outlet.set_window(message.credit.window_bytes)
            case "challenge":
                self._outlet.open_link(self._hello())
            case "welcome":
                self._welcome(message.welcome)
            case "inventory_request":
                self._inventory(message.inventory_request)
            case _:
                pass  # of a newer gateway, or the front's business

    # ---- A new link

    def _hello(self) -> bytes:
        entries = sorted(self._journal.open_entries(), key=lambda entry: entry.output is None)
        self._told_guests = self._guests.names if self._guests is not None else ()
        hello = pb.Hello(
            capabilities=self._command_types(),
            guests=self._told_guests,
            journal=[_journal_entry(entry) for entry in itertools.islice(entries, _HELLO_ENTRIES)],
            highest_epoch=pb.Epoch(
                incarnation=self._journal.highest_epoch.incarnation,
                revision=self._journal.highest_epoch.revision,
            ),
        )
        return pb.AgentMessage(hello=hello).SerializeToString()

    def _welcome(self, welcome: pb.Welcome) -> None:
        offset_ms = welcome.server_time_ms - self._clock.now_ms() if welcome.server_time_ms else 0
        self._server_clock.heard(welcome.server_time_ms)
        self._journal.epoch(Epoch(welcome.epoch.incarnation, welcome.epoch.revision), offset_ms)
        for ack in welcome.output_acks:
            self._output_ack(ack)
        self._outlet.start(welcome.window_bytes)
        self._announce_guests()  # those that came or went since the Hello

    def _announce_guests(self) -> None:
        if self._guests is None or self._guests.names == self._told_guests or not self._outlet.standing:
            return
        self._told_guests = self._guests.names
        guest_list = pb.GuestList(guests=self._told_guests)
        self._outlet.say(pb.AgentMessage(guest_list=guest_list).SerializeToString())

    def _command_types(self) -> list[str]:
        by_name = {CATALOGUE} if self._settings.catalogue.commands else set()
        of_guests = self._guests.command_types if self._guests is not None else ()
        return sorted({SHELL, EXEC, *by_name, *of_guests, *self._handlers.command_types})

    def _inventory(self, request: pb.InventoryRequest) -> None:
        reply = pb.InventoryReply(request_id=request.request_id)
        if request.kind == "commands":
            reply.items = msgspec.json.encode(self._command_types())
        else:
            reply.error = f"unknown inventory: {request.kind}"
        self._outlet.say(pb.AgentMessage(inventory_reply=reply).SerializeToString())

    # ---- Commands

    def _order(self, order: pb.Order) -> None:
        if Epoch(order.epoch.incarnation, order.epoch.revision) < self._journal.highest_epoch:
            log.warning(
                "executor.order_ignored", command_id=order.command_id, attempt=order.attempt, cause="epoch"
            )
        else:
            self._commands.order(order)

    def _output_ack(self, ack: pb.OutputAck) -> None:
        key = CommandKey(ack.command_id, ack.attempt)
        entry = self._journal.find(key)
        buffer = entry.output.buffer(ack.stream) if entry is not None and entry.output is not None else None
        if buffer is None:
            return  # its end is confirmed, or it is none of ours
        self._outlet.acknowledge_output(buffer, ack.offset, resend=ack.resend)
        self._commands.make_way(key)
        self._commands.confirmed()


def _guest_port(processes: ProcessTools) -> GuestPort | None:
    """Raises BadAgentSettings."""
    if not processes.settings.guests.configured:
        return None
    # Not before it is wanted: it loads libraries that most agents have no use for.
    from quarterdeck.agent.guests.guests import Guests

    return Guests(processes.settings.guests, processes.outlet, processes.clock)


def _journal_entry(entry: Entry) -> pb.JournalEntry:
    output = entry.output
    return pb.JournalEntry(
        command_id=entry.key.command_id,
        attempt=entry.key.attempt,
        phase=_PHASES[entry.phase],
        batch_id=entry.batch_id,
        stdout_offset=output.stdout.acked if output else 0,
        stderr_offset=output.stderr.acked if output else 0,
    )
