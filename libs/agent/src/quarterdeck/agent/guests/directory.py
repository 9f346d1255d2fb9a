"""Which guests this host has now: looks every few seconds, and tells when their names changed.

Looking connects to nothing but libvirt: a guest is there when its sockets are, or when libvirt says that it runs. That
nobody listens any more, because its QEMU was killed, is noticed by whoever connects. Called by guests.py.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.guests.settings import GuestSettings
from quarterdeck.contracts.guests import MAX_GUESTS
from quarterdeck.contracts.ids import ID_PATTERN
from quarterdeck.machines.discovery import SocketPattern, find_guests, libvirt_guests
from quarterdeck.machines.errors import MachineError, ProtocolUnavailable
from quarterdeck.machines.guest import Guest

log = structlog.get_logger()

_SHOWN: Final = 10
"""Names in one log line."""


class GuestDirectory:
    def __init__(self, settings: GuestSettings) -> None:
        """Raises BadAgentSettings for what is no pattern of sockets."""
        try:
            self._patterns = tuple(map(SocketPattern.parse, settings.sockets))
        except ValueError as error:
            raise BadAgentSettings(f"guest sockets: {error}", field="guests") from None
        self._libvirt_uri = settings.libvirt_uri
        self._interval_s = settings.look_interval_s
        self._of_libvirt: Mapping[str, Guest] = {}
        self._libvirt_answers = True
        self._guests: dict[str, Guest] = {}
        self._unusable: set[str] = set()
        """Names that were complained of."""
        self.names: tuple[str, ...] = ()
        """Sorted."""

    def find(self, name: str) -> Guest | None:
        return self._guests.get(name)

    async def look(self) -> bool:
        """Once. Whether `names` changed. Raises BadAgentSettings without a library that the settings ask for."""
        found = await asyncio.to_thread(find_guests, self._patterns)
        if self._libvirt_uri is not None:
            await self._ask_libvirt(self._libvirt_uri)
        usable = {name: guest for name, guest in {**self._of_libvirt, **found}.items() if self._fits(name)}
        names = tuple(sorted(usable))
        if len(names) > MAX_GUESTS:
            log.warning("guests.too_many", found=len(names), kept=MAX_GUESTS)
            names = names[:MAX_GUESTS]
        self._guests = {name: usable[name] for name in names}
        if names == self.names:
            return False
        came, went = set(names) - set(self.names), set(self.names) - set(names)
        log.info("guests.changed", count=len(names), came=sorted(came)[:_SHOWN], went=sorted(went)[:_SHOWN])
        self.names = names
        return True

    async def run(self, on_change: Callable[[], None]) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                changed = await self.look()
            except Exception:  # the next look may go better; commands go on with what the last one saw
                log.exception("guests.look_failed")
                continue
            if changed:
                on_change()

    async def _ask_libvirt(self, uri: str) -> None:
        try:
            self._of_libvirt = await libvirt_guests(uri)
        except ProtocolUnavailable as error:
            raise BadAgentSettings(f"libvirt: {error.message}", field="guests") from None
        except MachineError as error:
            # A daemon that is being restarted says nothing about its guests: those that it knew stay.
            if self._libvirt_answers:
                log.warning("guests.libvirt_lost", code=error.code, cause=error.message)
            self._libvirt_answers = False
        else:
            self._libvirt_answers = True

    def _fits(self, name: str) -> bool:
        """Whether it can be a target; names of sockets and domains are anybody's choice."""
        if ID_PATTERN.match(name):
            return True
        if name not in self._unusable and len(self._unusable) < MAX_GUESTS:
            self._unusable.add(name)
            # As it can be printed: the name of a file may hold bytes that are no text.
            log.warning("guests.name_unusable", guest=ascii(name)[1:-1])
        return False
