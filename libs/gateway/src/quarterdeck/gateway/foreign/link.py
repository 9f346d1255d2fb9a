"""A link of an agent that speaks another system's protocol: orders out one by one, messages in, and its end.

Owns the connection, the orders that wait, and the tasks of the link. What the agent said of a command is the desk's,
the words are the conversation's. The gateway treats it as any other link.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from quarterdeck.contracts.agents import AgentRecord
from quarterdeck.contracts.links import Epoch, LinkEnd
from quarterdeck.contracts.orders import GatewayOrder, OrderAnswer, TerminateItem
from quarterdeck.contracts.reports import Returned
from quarterdeck.contracts.states import CommandState
from quarterdeck.core import failpoints
from quarterdeck.gateway.connection import Connection, ConnectionLost
from quarterdeck.gateway.foreign.claims import Claim, Claims
from quarterdeck.gateway.foreign.command import ForeignCommand, Phase
from quarterdeck.gateway.foreign.desk import ForeignDesk
from quarterdeck.gateway.foreign.dialect import Conversation
from quarterdeck.gateway.foreign.ends import Who
from quarterdeck.gateway.foreign.waiting import WaitingOrders
from quarterdeck.gateway.link import LinkParts
from quarterdeck.gateway.messages import OrderSheet
from quarterdeck.gateway.send_queue import QueuedOrder
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.codes import RejectReason, ResultReason

_CLAIMED_AT_ONCE: Final = 64
"""Orders that are claimed in one burst; each is written only after all of them are."""


class ForeignLink:
    def __init__(
        self, parts: LinkParts, connection: Connection, conversation: Conversation, dialect: str
    ) -> None:
        self.dialect = dialect
        self.record: AgentRecord = conversation.record
        self.tenant = self.record.tenant
        self.agent_id = self.record.agent_id
        self.epoch: Epoch | None = None
        self.highest_epoch: Epoch | None = None
        """Foreign agents know of no epochs."""
        self.since_ms = parts.clock.now_ms()
        self._parts = parts
        self._connection = connection
        self._conversation = conversation
        self._waiting = WaitingOrders()
        self._arrivals = 0
        self._stops: list[ForeignCommand] = []
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        """End with the connection."""
        self._stores: set[asyncio.Task[None]] = set()
        """End when all that the agent said is stored."""
        self._heard_s = parts.clock.monotonic_s()
        self._held_back = False
        """The agent is not read: what it said before waits for the bus."""
        self._sending_since_s: float | None = None
        self._end: LinkEnd | None = None
        self._draining = False
        self._over = False
        self._failure: BaseException | None = None
        self._desk = ForeignDesk(
            Who(self.tenant, self.agent_id, dialect),
            parts,
            self._spawn_store,
            stop=self._stop,
            freed=self._freed,
        )
        conversation.bind(self._desk)

    # ---- What the rest of the gateway calls

    def offer(self, sheet: OrderSheet, order: GatewayOrder) -> OrderAnswer:
        key = (order.command_id, order.attempt)
        if self._end is not None or self._over or (self.epoch is not None and order.epoch != self.epoch):
            return OrderAnswer.GONE
        if self._waiting.find(key) is not None:
            return OrderAnswer.WAITING
        if self._desk.holds(key):
            return OrderAnswer.QUEUED  # this link has it, and says how it goes
        self._arrivals += 1
        queued = QueuedOrder((-sheet.priority, self._arrivals), sheet, order)
        if not self._has_room_for(queued):
            return OrderAnswer.BUSY
        command = ForeignCommand(queued, pb.CommandSpec.FromString(sheet.spec), self._arrivals)
        refusal = self._conversation.refusal(command.spec, order.guest or "")
        if refusal is not None:
            self._desk.rejected(command, RejectReason.UNSUPPORTED_BY_DIALECT, refusal)
        elif self._waiting.is_stopped(key):
            self._desk.unwritten(command, CommandState.TERMINATED)
        else:
            self._waiting.add(command)
            self._news.set()
        return OrderAnswer.QUEUED

    def terminate(self, item: TerminateItem) -> OrderAnswer:
        if self._end is not None or self._over:
            return OrderAnswer.GONE
        key = (item.command_id, item.attempt)
        self._waiting.remember_stop(key)
        command = self._waiting.find(key) or self._desk.command(key)
        if command is not None and command.phase is not Phase.ENDED:
            command.stop = command.stop or CommandState.TERMINATED
            self._stop(command)
        return OrderAnswer.QUEUED

    def drain(self, within_ms: int) -> None:
        """Foreign agents cannot be asked to leave: the link ends as soon as nothing runs."""
        self._draining = True
        self._freed()

    def end(self, reason: LinkEnd) -> None:
        if self._end is None and not self._over:
            self._end = reason
            self._spawn(self._say_goodbye(reason), "foreign_goodbye")

    def check_silence(self) -> None:
        now_s = self._parts.clock.monotonic_s()
        limit_s = self._parts.settings.silence_s
        stuck = self._sending_since_s is not None and now_s - self._sending_since_s > limit_s
        silent = now_s - self._heard_s > limit_s and not self._held_back
        if stuck or silent:
            self._parts.metrics.timeouts.inc()
            self.end(LinkEnd.SILENT)

    def welcome(self, epoch: Epoch, window_bytes: int) -> None:
        """The link's record is stored. Orders that came for another epoch go back."""
        self.epoch = epoch
        for command in self._waiting.of_other_epochs(epoch):
            self._give_back(command)
        self._spawn(self._send(epoch), "foreign_sender")

    async def run(self) -> LinkEnd:
        """Serve the link until it ends; why it did. Raises what broke it: ConnectionLost, LinkRefused, or a crash."""
        while (frame := await self._connection.receive()) is not None:
            self._heard_s = self._parts.clock.monotonic_s()
            await self._conversation.take(frame)
            self._held_back = True
            await self._desk.room()
            self._held_back = False
            self._heard_s = self._parts.clock.monotonic_s()
        if self._failure is not None:
            raise self._failure
        return self._end or LinkEnd.CLOSED

    def retire(self) -> None:
        """The connection is over: give back what was never written, end what was. Waits for nothing; see `settle`."""
        if self._over:
            return
        self._over = True
        for task in self._tasks:
            task.cancel()
        for command in self._waiting:
            self._give_back(command)
        self._desk.close(f"the link of the agent ended: {self._end or LinkEnd.CLOSED}")

    async def settle(self) -> None:
        """Returns when all that the agent said is stored. After `retire`."""
        await self._desk.settle()
        for task in self._stores:
            task.cancel()

    async def last_words(self, reason: str, text: str) -> None:
        """What the protocol says to a link that is refused in its course. Raises ConnectionLost."""
        await self._conversation.goodbye(reason)

    # ---- To the agent

    def _has_room_for(self, queued: QueuedOrder) -> bool:
        settings = self._parts.settings
        over = self._waiting.queued_bytes + queued.size_bytes > settings.queued_order_bytes
        return len(self._waiting) < settings.queued_orders and not (over and self._waiting)

    async def _send(self, epoch: Epoch) -> None:
        claims = Claims(self._parts.bus, self.tenant, f"{self._parts.settings.gateway_id} {epoch}")
        await self._conversation.welcome()
        while self._end is None:
            self._news.clear()
            while self._stops:
                command = self._stops.pop()
                if command.phase is not Phase.ENDED:
                    await self._timed(self._conversation.write_terminate(command))
            commands = self._waiting.next(
                _CLAIMED_AT_ONCE,
                running=self._desk.running_by_type(),
                most_of_a_type=self._conversation.max_running,
            )
            if not commands:
                await self._news.wait()
                continue
            outcomes = await claims.take([command.order for command in commands])
            for command, claim in zip(commands, outcomes, strict=True):
                await self._write(command, claim)

    async def _write(self, command: ForeignCommand, claim: Claim) -> None:
        if self._end is not None or self._waiting.remove(command.key) is None:
            return  # the link ends, and gives it back; or it was stopped while it was claimed
        expires_ms = command.queued.sheet.expires_ms
        if claim is Claim.TAKEN:
            self._desk.unwritten(
                command,
                CommandState.OUTCOME_UNKNOWN,
                reason=ResultReason.LINK_LOST,
                error="the order had been taken before",
            )
        elif 0 < expires_ms <= self._parts.clock.now_ms():
            self._desk.unwritten(
                command,
                CommandState.TIMED_OUT,
                reason=ResultReason.DELIVERY,
                error="not started before it expired",
            )
        else:
            self._desk.written(command)
            await self._timed(self._conversation.write_order(command))
            failpoints.reach("gateway.after_write")

    async def _timed(self, writing: Coroutine[Any, Any, None]) -> None:
        self._sending_since_s = self._parts.clock.monotonic_s()
        await writing
        self._sending_since_s = None

    def _stop(self, command: ForeignCommand) -> None:
        if command.phase is Phase.WAITING:
            self._waiting.remove(command.key)
            self._desk.terminate_acked(command)
            self._desk.unwritten(command, command.stop or CommandState.TERMINATED)
        elif not command.stop_asked:
            command.stop_asked = True
            self._stops.append(command)
            self._news.set()
            grace_s = command.spec.grace_ms / 1000
            asyncio.get_running_loop().call_later(2 * grace_s + 1, self._give_up, command)

    def _give_up(self, command: ForeignCommand) -> None:
        """It was told to stop, was given its grace and as long again, and said nothing."""
        if command.phase is not Phase.ENDED:
            self._desk.abandon(command, "the agent did not answer the stop: it may still run it")

    def _give_back(self, command: ForeignCommand) -> None:
        self._waiting.remove(command.key)
        returned = Returned(
            command_id=command.command_id,
            attempt=command.attempt,
            agent_id=self.agent_id,
            at_ms=self._parts.clock.now_ms(),
            handover=command.queued.sheet.handover,
        )
        self._parts.reports.add(self.tenant, returned)

    # ---- The end

    def _freed(self) -> None:
        self._news.set()
        if self._draining and not self._desk.running and not self._waiting:
            self.end(LinkEnd.DRAINING)

    async def _say_goodbye(self, reason: LinkEnd) -> None:
        try:
            async with asyncio.timeout(self._parts.settings.goodbye_timeout_s):
                await self._conversation.goodbye(reason)
        except (ConnectionLost, TimeoutError):
            pass  # it left without asking
        await self._connection.close(reason)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """A task of this link: its crash is the link's."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _spawn_store(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._stores.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._stores.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None and self._failure is None:
            self._failure = failure
            if not self._over:
                self._spawn(self._connection.close(LinkEnd.CLOSED), "foreign_close")
