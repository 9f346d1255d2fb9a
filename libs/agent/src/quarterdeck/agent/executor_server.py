"""The executor's end of the Unix socket: lets one front at a time use an ExecutorPort.

Owns the connections and who may make them. Reads no frame: whatever cannot be cut or decoded ends that connection and
nothing else. A newer connection ends the one before, since a front opens one for each link.
"""

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from quarterdeck.agent.executor_socket import BUFFER_BYTES, listen, peer_uid
from quarterdeck.agent.ports import ExecutorPort
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.wire.framing import FrameDecoder, encode

log = structlog.get_logger()

_ROOT: Final = 0
_ACCEPT_PAUSE_S: Final = 0.2


class ExecutorServer:
    """Make it, start it, and in the end close it."""

    def __init__(self, executor: ExecutorPort, directory: Path, front_uid: int | None = None) -> None:
        """`directory`: of the socket. `front_uid`: the user that may connect besides our own and root."""
        self._executor = executor
        self._directory = directory
        self._front_uid = front_uid
        self._allowed = {os.geteuid(), _ROOT} | ({front_uid} if front_uid is not None else set())
        self._accepting: asyncio.Task[None] | None = None
        self._session: asyncio.Task[None] | None = None
        self._talking = False

    @property
    def linked(self) -> bool:
        """Whether a front is on a link, or about to be."""
        return self._talking

    async def start(self) -> None:
        """Raises OSError when the socket cannot be made."""
        listener = listen(self._directory, self._front_uid)
        self._accepting = asyncio.create_task(self._accept(listener), name="executor.accept")

    async def close(self) -> None:
        """Ends the session with the front."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        await self._end_session()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:  # out of descriptors: the front keeps asking
                    log.warning("executor.accept_failed", cause=error.strerror)
                    await asyncio.sleep(_ACCEPT_PAUSE_S)
                    continue
                if (uid := peer_uid(connection)) not in self._allowed:
                    log.warning("executor.front_refused", uid=uid)
                    connection.close()
                    continue
                await self._end_session()
                self._session = asyncio.create_task(self._serve(connection), name="executor.session")
                # Here and not in `_serve`, which never begins when yet another front is there already.
                self._session.add_done_callback(partial(_close, connection))

    async def _end_session(self) -> None:
        if self._session is not None:
            self._session.cancel()
            # All of it, before another one begins: `receive` is for one task at a time.
            await asyncio.gather(self._session, return_exceptions=True)
            self._session = None

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        speaking: asyncio.Task[None] | None = None
        decoder = FrameDecoder()
        try:
            while piece := await reader.read(BUFFER_BYTES):
                for frame in decoder.feed(piece):
                    await self._executor.send(frame)
                    if speaking is None:
                        # Not before the front's first word, a Challenge: what waits now is for a link that is gone.
                        self._talking = True
                        speaking = asyncio.create_task(self._speak(writer), name="executor.speak")
        except DecodeError as error:
            log.warning("executor.front_not_understood", code=error.code)
        except ConnectionError:
            pass  # the front died
        finally:
            self._talking = False
            writer.transport.abort()  # nobody reads what is left
            if speaking is not None:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(encode(await self._executor.receive()))
                await writer.drain()  # a front that takes nothing holds the executor's outlet back here
        except ConnectionError:
            pass  # the front died
        except Exception:
            log.exception("executor.speaking_failed")
        finally:
            writer.transport.abort()  # ends the reader, and with it the session: nobody listens to one who is mute


def _close(connection: socket.socket, _session: "asyncio.Task[None]") -> None:
    connection.close()
