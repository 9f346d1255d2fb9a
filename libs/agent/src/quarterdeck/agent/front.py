"""The front: keeps one link open to one of the gateways, for as long as the agent lives.

Owns the choice of server, back-off, and what each kind of ending means. What runs on the link is link.py; commands are
the executor's, which goes on while there is no link, and when this front dies.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from quarterdeck.agent.backoff import REPLACED, Backoff
from quarterdeck.agent.credentials import Credentials
from quarterdeck.agent.errors import AgentRefused, ConnectionLost, ExecutorLost, LinkEnded
from quarterdeck.agent.link import Link, Profile
from quarterdeck.agent.ports import Connection, ExecutorSession, JoinExecutor
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.contracts.links import LinkEnd
from quarterdeck.core.clock import Clock, SystemClock
from quarterdeck.wire.codes import GoodbyeReason

log = structlog.get_logger()

Dial = Callable[[ServerAddress], Awaitable[Connection]]

_FOR_GOOD: Final = frozenset(
    {LinkEnd.REVOKED, GoodbyeReason.IDENTITY_CONFLICT, GoodbyeReason.JOIN_TOKEN_INVALID}
)
"""Reasons after which coming back cannot work until somebody acts."""

_STOOD_S: Final = 5.0
"""A link that held for less was none: its end counts as one more failure in a row."""


class FrontSettings(msgspec.Struct, frozen=True, kw_only=True):
    servers: tuple[ServerAddress, ...]
    profile: Profile


class Front:
    """Runs once; `stop` ends it."""

    def __init__(
        self,
        settings: FrontSettings,
        join_executor: JoinExecutor,
        credentials: Credentials,
        dial: Dial,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._join_executor = join_executor
        self._credentials = credentials
        self._dial = dial
        self._clock = clock or SystemClock()
        rng = rng or random.Random()
        self._servers = rng.sample(settings.servers, len(settings.servers))
        self._backoff = Backoff(rng=rng)
        self._leaving = asyncio.Event()
        self.linked = asyncio.Event()
        """Set while a link stands."""

    def stop(self) -> None:
        """Say Goodbye and let `run` return."""
        self._leaving.set()

    async def run(self) -> None:
        """Links, and links again, until `stop`. Raises AgentRefused when no gateway will take this agent."""
        turn = 0
        while not self._leaving.is_set():
            server = self._servers[turn % len(self._servers)]
            turn += 1
            wait_s = await self._one_link(server)
            if not self._leaving.is_set():
                await self._pause(wait_s)

    async def _one_link(self, server: ServerAddress) -> float:
        """From connect to the end. Returns how many seconds to wait before the next one."""
        # The executor first: without one, a gateway has nobody to talk to.
        executor = await self._join()
        if executor is None:
            return 0.0
        try:
            return await self._link_to(server, executor)
        finally:
            await executor.close()

    async def _join(self) -> ExecutorSession | None:
        """A session with the executor, as soon as there is one. None: told to stop meanwhile."""
        joining = asyncio.ensure_future(self._join_executor())
        leaving = asyncio.create_task(self._leaving.wait(), name="front.leaving")
        try:
            await asyncio.wait({joining, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return joining.result() if joining.done() else None
        finally:
            for task in (joining, leaving):
                task.cancel()
            await asyncio.gather(joining, leaving, return_exceptions=True)

    async def _link_to(self, server: ServerAddress, executor: ExecutorSession) -> float:
        try:
            connection = await self._dial(server)
        except ConnectionLost as lost:
            wait_s = self._backoff.next_s()
            log.info(
                "agent.connect_failed", server=str(server), cause=lost.cause, retry_in_s=round(wait_s, 2)
            )
            return wait_s
        link = Link(
            connection, executor, self._credentials, self._settings.profile, self._clock, self._leaving
        )
        end = await self._serve(link, server)
        wait_s = self._wait_after(end)
        log.info(
            "agent.link_ended",
            server=str(server),
            reason=end.reason,
            cause=end.message,
            retry_in_s=round(wait_s, 2),
        )
        return wait_s

    async def _serve(self, link: Link, server: ServerAddress) -> LinkEnded:
        """Opens the link and stays in it. Returns why it ended."""
        goodbye: str | None = None
        stood_since_s = self._clock.monotonic_s()
        try:
            welcomed = await link.open()
            self.linked.set()
            log.info("agent.linked", server=str(server), epoch=str(welcomed.epoch))
            await link.serve(welcomed)
        except ConnectionLost as lost:
            return LinkEnded(lost.code, lost.cause)
        except ExecutorLost as lost:
            return LinkEnded(lost.code, lost.message)
        except DecodeError as error:
            goodbye = LinkEnd.UNDECODABLE
            return LinkEnded(goodbye, error.message)
        except LinkEnded as end:
            return end
        finally:
            if self.linked.is_set() and self._clock.monotonic_s() - stood_since_s > _STOOD_S:
                self._backoff.reset()
            self.linked.clear()
            await link.close(goodbye)

    def _wait_after(self, end: LinkEnded) -> float:
        """Seconds until the next link. Raises AgentRefused for the reasons that are final."""
        if end.reason in _FOR_GOOD:
            raise AgentRefused(end.reason, end.message)
        if end.reason == LinkEnd.UNAUTHENTICATED and self._credentials.join_secret is not None:
            # The deployment does not know us any more (its registry was made anew), but we may join again.
            self._credentials.enrolment = None
        return self._backoff.next_s(REPLACED if end.reason == LinkEnd.REPLACED else None)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            pass
