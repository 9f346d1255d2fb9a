"""A session with a SPICE server: its main channel, and the inputs channel that belongs to it.

A server has one session. Beginning one ends another client's, such as a viewer on somebody's desk.
"""

from contextlib import AsyncExitStack
from typing import Self

from quarterdeck.machines.errors import ConnectFailed
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.spice import messages
from quarterdeck.machines.spice.channel import Channel
from quarterdeck.machines.spice.messages import ChannelType, FromServer


class Session:
    """Both channels are attended to until it is closed, or one of them ends."""

    def __init__(self, main: Channel, inputs: Channel) -> None:
        """Open, and attended to."""
        self._main = main
        self.inputs = inputs

    @classmethod
    async def open(cls, guest: Guest, password: str) -> Self:
        """Raises ProtocolUnavailable, ConnectFailed, WrongPassword, ConnectionEnded, ProtocolViolation."""
        async with AsyncExitStack() as opened:
            main = await Channel.open(guest, ChannelType.MAIN, password)
            opened.push_async_callback(main.close)
            session_id = await main.until(FromServer.MAIN_INIT, messages.session_id)
            main.write(messages.attach_channels())
            offered = await main.until(FromServer.MAIN_CHANNELS_LIST, messages.channel_types)
            main.attend()
            if ChannelType.INPUTS not in offered:
                raise ConnectFailed("no inputs channel", guest=guest.name, protocol=ProtocolType.SPICE)
            inputs = await Channel.open(guest, ChannelType.INPUTS, password, session_id)
            opened.push_async_callback(inputs.close)
            await inputs.until(FromServer.INPUTS_INIT, bytes)
            inputs.attend()
            opened.pop_all()
        return cls(main, inputs)

    @property
    def is_open(self) -> bool:
        """Neither channel is known to have ended."""
        return self._main.is_open and self.inputs.is_open

    async def close(self) -> None:
        """Keys that were sent still arrive, unless the server is stuck. Never raises."""
        try:
            await self.inputs.leave()
        finally:
            await self._main.close()
