"""SpiceProtocol: keys for one guest. Owns who may type when, and what is left of the keys of a caller who went away.

The session is session.py's. Called by the agent and by programs of others.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from quarterdeck.contracts.errors import InvalidInput
from quarterdeck.machines import keys as key_names
from quarterdeck.machines.errors import ConnectionEnded, NotSupported, TimedOut, UnknownKey
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.protocol import DEFAULT_TIMEOUT_S
from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.session import Session

log = structlog.get_logger()

DEFAULT_HOLD_MS: Final = 100
"""How long keys stay down: as long as those of QEMU's own send-key."""


class SpiceProtocol:
    """A Protocol. Made by SpiceProtocolBuilder.

    A session that the other side ended is begun anew by the next request. A server has one session: beginning ours ends
    a viewer's, and a viewer that connects ends ours.
    """

    def __init__(self, *, timeout_s: float, password: str) -> None:
        """`password`: for guests that name none; may be empty."""
        self._timeout_s = timeout_s
        self._password = password
        self._turn = asyncio.Lock()
        self._guest: Guest | None = None
        self._session: Session | None = None

    async def connect(self, guest: Guest) -> None:
        """Raises ProtocolUnavailable, ConnectFailed, WrongPassword, ConnectionEnded, ProtocolViolation, TimedOut."""
        async with self._turn:
            self._guest = None  # keys must never go to the guest before this one
            await self._close()
            self._session = await self._begin(guest)
            self._guest = guest

    async def disconnect(self) -> None:
        """What was sent before has reached QEMU on return, unless QEMU stands still."""
        async with self._turn:
            self._guest = None
            await self._close()

    async def is_connected(self) -> bool:
        return self._session is not None and self._session.is_open

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.SPICE

    async def send_key(self, key: str, hold_ms: int | None = None) -> None:
        """As send_keys."""
        await self.send_keys([key], hold_ms)

    async def send_keys(self, keys: Sequence[str], hold_ms: int | None = None) -> None:
        """Press the keys together, in this order; release them in reverse order after `hold_ms`, or 100 ms.

        They are released even if the caller is cancelled meanwhile. Callers take turns. Nothing confirms a key: on
        return it is on its way to QEMU, which drops it while the guest is paused.
        Raises UnknownKey before anything is sent, InvalidInput, and what connect raises.
        """
        if not keys:
            raise InvalidInput("keys: expected at least one", field="keys")
        if hold_ms is not None and hold_ms < 1:
            raise InvalidInput("hold_ms: expected at least 1", field="hold_ms", value=hold_ms)
        scancodes = [self._scancode(key) for key in keys]
        async with self._turn:
            session = await self._open_session()
            try:
                await self._write(session, map(messages.key_down, scancodes))
                await asyncio.sleep((hold_ms or DEFAULT_HOLD_MS) / 1000)
            except BaseException:
                session.inputs.write(b"".join(map(messages.key_up, reversed(scancodes))))
                raise
            await self._write(session, map(messages.key_up, reversed(scancodes)))

    async def send(self, content: bytes) -> None:
        """Raises NotSupported, always."""
        raise self._not_supported("bytes belong to a message of a channel: use send_keys()")

    async def receive(self) -> bytes:
        """Raises NotSupported, always."""
        raise self._not_supported("what the server sends is answered here, and is for no caller")

    async def _begin(self, guest: Guest) -> Session:
        password = self._password if guest.spice_password is None else guest.spice_password
        try:
            async with asyncio.timeout(self._timeout_s):
                session = await Session.open(guest, password)
        except TimeoutError as error:
            text = f"no session in {self._timeout_s:g} s"
            raise TimedOut(text, guest=guest.name, protocol=ProtocolType.SPICE) from error
        log.debug("spice.connected", guest=guest.name)
        return session

    async def _open_session(self) -> Session:
        if self._guest is None:
            raise ConnectionEnded("not connected", guest="?", protocol=ProtocolType.SPICE)
        if self._session is None or not self._session.is_open:
            await self._close()
            self._session = await self._begin(self._guest)
        return self._session

    async def _write(self, session: Session, packed: Iterable[bytes]) -> None:
        session.inputs.write(b"".join(packed))
        try:
            async with asyncio.timeout(self._timeout_s):
                await session.inputs.drain()
        except TimeoutError as error:
            text = f"the server took no keys for {self._timeout_s:g} s"
            session.inputs.give_up(text)
            raise TimedOut(text, guest=self._guest_name, protocol=ProtocolType.SPICE) from error

    async def _close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    @property
    def _guest_name(self) -> str:
        return "?" if self._guest is None else self._guest.name

    def _scancode(self, key: str) -> tuple[int, ...]:
        try:
            return key_names.scancode(key)
        except LookupError as error:
            raise UnknownKey(key, guest=self._guest_name, protocol=ProtocolType.SPICE) from error

    def _not_supported(self, text: str) -> NotSupported:
        return NotSupported(text, guest=self._guest_name, protocol=ProtocolType.SPICE)


class SpiceProtocolBuilder:
    """A ProtocolBuilder."""

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S, password: str = "") -> None:
        self._timeout_s = timeout_s
        self._password = password

    def with_timeout(self, timeout_s: float) -> "SpiceProtocolBuilder":
        """For beginning a session, and for the server to take what is sent; the time that keys are held adds to it."""
        return SpiceProtocolBuilder(timeout_s=timeout_s, password=self._password)

    def with_password(self, password: str) -> "SpiceProtocolBuilder":
        """For guests whose `spice_password` is None."""
        return SpiceProtocolBuilder(timeout_s=self._timeout_s, password=password)

    def build(self) -> SpiceProtocol:
        return SpiceProtocol(timeout_s=self._timeout_s, password=self._password)

    def protocol_type(self) -> ProtocolType:
        return ProtocolType.SPICE
