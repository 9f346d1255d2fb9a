"""A stand-alone agent of the dialect agent_service, written from the protocol's field numbers alone.

Imports nothing of ours but the hand-made codec: what it understands is what any agent of this protocol would. Runs
shell commands for real, one process group each. `AgentOptions` make it old, deaf or wrong on purpose; `say_*` lets a
test put any message on the wire. Runs by itself too:

    python -m tests.conformance.agents.agent_service 127.0.0.1:9090 --vps-db-id 7 --secret s3cret
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from grpc import aio, ssl_channel_credentials

from tests.conformance.handpacked import Message, integer, nested, octets, pack, text

METHOD = "/agent_service.AgentCommunicationService/EstablishCommunicationStream"
STDOUT, STDERR = 1, 2
SUCCESS, FAILURE, TERMINATED = 1, 2, 3
ADHOC_COMMAND, SAVED_SCRIPT = 1, 2

_READ_BYTES = 64 * 1024
_KILL_AFTER_S = 1.0


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """Who the agent is, and in what it differs from a good one."""

    vps_db_id: int = 1
    secret: str = ""
    hostname: str = "sample"
    version: str = "1.2.3"
    says_accepted: bool = True
    """False: an agent of before AGENT_ACCEPTED."""
    keeps_timeout: bool = True
    """False: one of before timeout_seconds."""
    deaf: bool = False
    """Takes orders and does nothing."""
    immortal: bool = False
    """Does not do what a termination says."""


class NotAccepted(Exception):
    """The server did not take the handshake. The text is its own, or empty when it only hung up."""


@dataclass
class SampleAgent:
    """One connection at a time: `connect`, then it serves by itself until `close` or the server hangs up."""

    address: str
    options: AgentOptions = field(default_factory=AgentOptions)
    ca_pem: bytes | None = None
    """None: the plaintext port."""

    def __post_init__(self) -> None:
        self.orders: list[Message] = []
        """Every BatchAgentCommandRequest that came."""
        self.terminations: list[str] = []
        self.server_time_ms = 0
        self.refusal: str | None = None
        """What the server said when it took its word back."""
        self._sent = 0
        self._stop_asked: set[str] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    async def connect(self) -> Self:
        """Returns when the server has acknowledged the handshake. Raises NotAccepted."""
        await self.dial()
        await self.say(nested(2, *self._handshake()))
        ack = await self.hear()
        if ack is None or not ack.nested(2).integer(1):
            raise NotAccepted("" if ack is None else ack.nested(2).text(2))
        self.server_time_ms = ack.nested(2).signed(6)
        self._spawn(self._serve())
        return self

    async def dial(self) -> None:
        """The call without a word said on it."""
        if self.ca_pem is None:
            self._channel: Any = aio.insecure_channel(self.address)
        else:
            self._channel = aio.secure_channel(self.address, ssl_channel_credentials(self.ca_pem))
        self._call = self._channel.stream_stream(METHOD)()  # bytes in, bytes out: no serialiser of any proto
        self.ended = asyncio.Event()

    async def close(self) -> None:
        """Hang up, and end whatever runs. Any number of calls."""
        self._call.cancel()
        for process in self._processes.values():
            _signal(process, signal.SIGKILL)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    # ---- Words

    async def say(self, payload: bytes, *, vps_db_id: bytes | None = None, secret: str | None = None) -> None:
        """One MessageToServer around `payload`, a member of its oneof. `vps_db_id`: a field instead of the true one."""
        self._sent += 1
        await self.say_raw(
            pack(
                integer(1, self._sent),
                integer(9, self.options.vps_db_id) if vps_db_id is None else vps_db_id,
                text(10, self.options.secret if secret is None else secret),
                payload,
            )
        )

    async def say_raw(self, frame: bytes) -> None:
        """Bytes that may be no message at all. Lost when the server has hung up: this protocol repeats nothing."""
        async with self._writing:
            try:
                await self._call.write(frame)
            except (aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError, asyncio.CancelledError):
                if not self._call.done():
                    raise

    async def say_accepted(self, command_id: str) -> None:
        await self.say(nested(16, text(1, command_id)))

    async def say_output(self, command_id: str, chunk: bytes, stream: int = STDOUT) -> None:
        now_ms = time.time_ns() // 1_000_000
        await self.say(
            nested(13, text(1, command_id), integer(2, stream), octets(3, chunk), integer(4, now_ms))
        )

    async def say_result(self, command_id: str, status: int, exit_code: int = 0, error: str = "") -> None:
        await self.say(
            nested(14, text(1, command_id), integer(2, status), integer(3, exit_code), text(4, error))
        )

    async def say_metrics(self) -> None:
        """A performance_batch, of which the server knows that it exists."""
        await self.say(nested(3, octets(1, b"\xff\xfe any bytes")))

    async def say_unknown(self) -> None:
        """A member that no version of the protocol has yet."""
        await self.say(nested(99, text(1, "from the future")))

    async def hear(self) -> Message | None:
        """The next MessageToAgent; None when the server hung up."""
        try:
            frame = await self._call.read()
        except (aio.AioRpcError, asyncio.CancelledError):
            return None
        return Message(frame) if isinstance(frame, bytes) else None

    def _handshake(self) -> tuple[bytes, ...]:
        return (
            text(1, f"vps-{self.options.vps_db_id}"),
            text(2, self.options.version),
            text(3, "linux"),
            text(4, "Debian GNU/Linux"),
            text(5, "x86_64"),
            text(6, self.options.hostname),
            text(7, "192.0.2.7"),
            text(7, "2001:db8::7"),
            text(8, "6.1.0-18-amd64"),
            text(9, "12"),
            text(10, "Debian GNU/Linux 12 (bookworm)"),
            text(11, "debian"),
        )

    # ---- Deeds

    async def _serve(self) -> None:
        while (message := await self.hear()) is not None:
            if message.has(8):
                self.orders.append(message.nested(8))
                if not self.options.deaf:
                    self._spawn(self._run(message.nested(8)))
            elif message.has(9):
                await self._terminate(message.nested(9).text(1))
            elif message.has(2):
                self.refusal = message.nested(2).text(2)
        self.ended.set()

    async def _run(self, order: Message) -> None:
        command_id = order.text(1)
        if self.options.says_accepted:
            await self.say_accepted(command_id)
        try:
            async with _spawned(order) as process:
                self._processes[command_id] = process
                if self._call.done():
                    _signal(process, signal.SIGKILL)  # hung up while it started
                await self._watch(command_id, process, order.integer(5))
        except OSError as error:
            await self.say_result(command_id, FAILURE, error=f"cannot start: {error.strerror}")

    async def _watch(self, command_id: str, process: asyncio.subprocess.Process, timeout_s: int) -> None:
        assert process.stdout is not None and process.stderr is not None
        done = asyncio.gather(
            self._pump(command_id, process.stdout, STDOUT),
            self._pump(command_id, process.stderr, STDERR),
            process.wait(),
        )
        timed_out = False
        try:
            limit_s = timeout_s if timeout_s and self.options.keeps_timeout else None
            await asyncio.wait_for(asyncio.shield(done), limit_s)
        except TimeoutError:
            timed_out = True
            _signal(process, signal.SIGKILL)
            await done
        del self._processes[command_id]
        code = process.returncode or 0
        if timed_out:
            await self.say_result(command_id, FAILURE, code, f"timed out after {timeout_s} s")
        elif command_id in self._stop_asked and code < 0:
            await self.say_result(command_id, TERMINATED, code, "terminated")
        else:
            await self.say_result(command_id, FAILURE if code else SUCCESS, code)

    async def _pump(self, command_id: str, pipe: asyncio.StreamReader, stream: int) -> None:
        while chunk := await pipe.read(_READ_BYTES):
            await self.say_output(command_id, chunk, stream)

    async def _terminate(self, command_id: str) -> None:
        self.terminations.append(command_id)
        process = self._processes.get(command_id)
        if self.options.immortal:
            return
        if process is None:
            await self.say_result(command_id, FAILURE, error="not found")
            return
        self._stop_asked.add(command_id)
        _signal(process, signal.SIGTERM)
        self._spawn(_kill_later(process))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def _spawned(order: Message) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process of an order; its script file lives as long. Raises OSError when it does not start."""
    with tempfile.TemporaryDirectory() as scratch:
        argv = ["/bin/sh", "-c", order.text(3)]
        if order.integer(2) == SAVED_SCRIPT:
            script = Path(scratch, "script")
            script.write_text(order.text(3))
            script.chmod(0o700)
            argv = [str(script)] if order.text(3).startswith("#!") else ["/bin/sh", str(script)]
        yield await asyncio.create_subprocess_exec(
            *argv,
            cwd=order.text(4) or None,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )


async def _kill_later(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), _KILL_AFTER_S)
    except TimeoutError:
        _signal(process, signal.SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass  # it ended meanwhile


async def _main() -> None:
    parser = argparse.ArgumentParser(description="An agent of the dialect agent_service.")
    parser.add_argument("address", help="host:port of the gRPC gateway")
    parser.add_argument("--vps-db-id", type=int, required=True)
    parser.add_argument("--secret", default="")
    parser.add_argument("--ca", type=Path, help="PEM file of the gateway's CA; without it, plaintext")
    asked = parser.parse_args()
    options = AgentOptions(vps_db_id=asked.vps_db_id, secret=asked.secret)
    agent = SampleAgent(asked.address, options, asked.ca.read_bytes() if asked.ca else None)
    await agent.connect()
    await agent.ended.wait()
    await agent.close()


if __name__ == "__main__":
    asyncio.run(_main())
