"""A stand-alone agent of the dialect deepflow, written from the protocol's field numbers alone.

Imports nothing of ours but the hand-made codec: what it understands is what any agent of this protocol would. Runs the
commands of its own list for real. `AgentOptions` make it deaf or wrong on purpose; `say_*` lets a test put any message
on the wire. Runs by itself too:

    python -m tests.conformance.agents.deepflow 127.0.0.1:9090 --ip 10.0.0.7 --mac aa:bb:cc:dd:ee:ff
"""

import argparse
import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from grpc import aio, ssl_channel_credentials

from tests.conformance.handpacked import Message, integer, nested, octets, pack, text

METHOD = "/agent.Synchronizer/RemoteExecute"
LIST_COMMAND, LIST_NAMESPACE, RUN_COMMAND = 0, 1, 2

_LEAST_BATCH_BYTES = 1024
_DEFAULT_BATCH_BYTES = 1024 * 1024

CATALOGUE: Mapping[str, tuple[str, ...]] = {
    "hello": ("echo", "hello"),
    "say": ("printf", "%s", "$what"),
    "fail": ("sh", "-c", "echo no such thing >&2; exit 3"),
    "half": ("sh", "-c", "echo half; echo broken >&2; exit 4"),
    "quiet": ("true",),
    "zeros": ("head", "-c", "$bytes", "/dev/zero"),
    "wait": ("sleep", "$seconds"),
}
"""ident → argv; `$name` is a parameter."""


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """Who the agent is, and in what it differs from a good one."""

    ip: str = "10.0.0.7"
    mac: str = "aa:bb:cc:dd:ee:07"
    team_id: str = ""
    catalogue: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CATALOGUE)
    heartbeat_s: float = 30.0
    deaf: bool = False
    """Takes requests and does nothing."""
    wrong_md5: bool = False
    wrong_total_len: bool = False
    """Says one byte less than it sends."""


class NotAnswered(Exception):
    """The server hung up before it answered the first heartbeat."""


@dataclass
class SampleAgent:
    """One connection at a time: `connect`, then it serves by itself until `close` or the server hangs up."""

    address: str
    options: AgentOptions = field(default_factory=AgentOptions)
    ca_pem: bytes | None = None
    """None: the plaintext port."""

    def __post_init__(self) -> None:
        self.requests: list[Message] = []
        """Every RemoteExecRequest that had an exec_type."""
        self.heartbeat_answers = 0
        self._arrived = asyncio.Condition()
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    async def connect(self) -> Self:
        """Returns when the server has answered the first heartbeat. Raises NotAnswered."""
        await self.dial()
        await self.say_heartbeat()
        answer = await self.hear()
        if answer is None:
            raise NotAnswered
        assert answer.integer(1) == 0 and not answer.has(2)
        self.heartbeat_answers += 1
        self._spawn(self._serve())
        self._spawn(self._beat())
        return self

    async def dial(self) -> None:
        """The call without a word said on it."""
        if self.ca_pem is None:
            self._channel: Any = aio.insecure_channel(self.address)
        else:
            self._channel = aio.secure_channel(self.address, ssl_channel_credentials(self.ca_pem))
        self._call = self._channel.stream_stream(METHOD)()  # bytes in, bytes out: no serialiser of any proto
        self.ended = asyncio.Event()

    async def finish(self) -> None:
        """End the call in order: the server reads EOF."""
        async with self._writing:
            await self._call.done_writing()

    async def close(self) -> None:
        """Hang up, and end whatever runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._call.cancel()
        await self._channel.close()

    async def asked(self, count: int) -> list[Message]:
        """The requests, once there are `count` of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    # ---- Words

    async def say(self, request_id: int, *fields: bytes, who: bytes | None = None) -> None:
        """One RemoteExecResponse. `who`: an agent_id field instead of the true one."""
        number = (integer(2, request_id),) if request_id else ()
        await self.say_raw(pack(self._name() if who is None else who, *number, *fields))

    async def say_raw(self, frame: bytes) -> None:
        """Bytes that may be no message at all."""
        async with self._writing:
            await self._call.write(frame)

    async def say_heartbeat(self) -> None:
        await self.say(0)

    async def say_chunk(
        self,
        request_id: int,
        content: bytes,
        *,
        md5: str | None = None,
        total_len: int | None = None,
        errno: int | None = None,
        errmsg: str | None = None,
    ) -> None:
        """A DataChunk; what is None is absent. Empty content is absent too."""
        chunk = pack(
            integer(1, errno) if errno is not None else b"",
            octets(2, content) if content else b"",
            text(3, md5) if md5 is not None else b"",
            integer(4, total_len) if total_len is not None else b"",
        )
        await self.say(request_id, text(3, errmsg) if errmsg is not None else b"", nested(6, chunk))

    async def say_error(self, request_id: int, errmsg: str) -> None:
        await self.say(request_id, text(3, errmsg))

    async def hear(self) -> Message | None:
        """The next RemoteExecRequest; None when the server hung up."""
        try:
            frame = await self._call.read()
        except (aio.AioRpcError, asyncio.CancelledError):
            return None
        return Message(frame) if isinstance(frame, bytes) else None

    def _name(self) -> bytes:
        options = self.options
        team = (text(3, options.team_id),) if options.team_id else ()
        return nested(1, text(1, options.ip), text(2, options.mac), *team)

    # ---- Deeds

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.options.heartbeat_s)
            await self.say_heartbeat()

    async def _serve(self) -> None:
        while (request := await self.hear()) is not None:
            if not request.has(2):
                self.heartbeat_answers += 1
                continue
            async with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            if not self.options.deaf:
                await self._obey(request)
        self.ended.set()

    async def _obey(self, request: Message) -> None:
        kind, request_id = request.integer(2), request.integer(1)
        if kind == LIST_COMMAND:
            await self.say(request_id, *(nested(4, *_described(*item)) for item in self._catalogue()))
        elif kind == LIST_NAMESPACE:
            await self.say(request_id, *(nested(5, *fields) for fields in _namespaces()))
        elif kind == RUN_COMMAND:
            if self._running is not None:
                self._running.cancel()  # a second command overwrites the first
            self._running = self._spawn(self._run(request))

    def _catalogue(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(self.options.catalogue.items())

    async def _run(self, request: Message) -> None:
        request_id, ident = request.integer(1), request.text(7)
        argv = self.options.catalogue.get(ident)
        if argv is None:
            await self.say(request_id, text(3, f"command not found for id {ident}"), nested(6))
            return
        given = {param.text(1): param.text(2) for param in map(Message, request.every(4))}
        process = await asyncio.create_subprocess_exec(
            *(given.get(word[1:], word) if word.startswith("$") else word for word in argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            stdout, stderr = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        code = process.returncode or 0
        error = (stderr.decode() or f"command '{ident}' failed") if code else None
        if stdout:
            await self._say_output(request, stdout, code, error)
        else:
            await self.say_chunk(request_id, b"", errno=code or None, errmsg=error)

    async def _say_output(self, request: Message, stdout: bytes, code: int, error: str | None) -> None:
        batch_bytes = max(_LEAST_BATCH_BYTES, request.integer(6) or _DEFAULT_BATCH_BYTES)
        md5 = hashlib.md5(stdout, usedforsecurity=False).hexdigest()
        for start in range(0, len(stdout), batch_bytes):
            last = start + batch_bytes >= len(stdout)
            await self.say_chunk(
                request.integer(1),
                stdout[start : start + batch_bytes],
                md5=None if not last else "0" * 32 if self.options.wrong_md5 else md5,
                total_len=len(stdout) - self.options.wrong_total_len,
                errno=code,
                errmsg=error if last else None,
            )

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _described(ident: str, argv: tuple[str, ...]) -> tuple[bytes, ...]:
    """The fields of a RemoteCommand."""
    params = (
        nested(7, text(1, word[1:]), text(2, r"^[\w.-]+$"), integer(3, 1), integer(4, 0), text(5, "any word"))
        for word in argv
        if word.startswith("$")
    )
    return (text(2, " ".join(argv)), integer(4, 0), text(6, ident), *params, text(8, "linux"))


def _namespaces() -> list[tuple[bytes, ...]]:
    """The fields of a LinuxNamespace for each namespace of this process."""
    listed: list[tuple[bytes, ...]] = []
    for entry in sorted(Path("/proc/self/ns").iterdir()):
        kind, _, inode = str(entry.readlink()).partition(":")
        fields = (text(2, kind), text(3, "root"), integer(4, os.getpid()), text(5, "sample"))
        listed.append((integer(1, int(inode.strip("[]"))), *fields))
    return listed


async def _main() -> None:
    parser = argparse.ArgumentParser(description="An agent of the dialect deepflow.")
    parser.add_argument("address", help="host:port of the gRPC gateway")
    parser.add_argument("--ip", required=True)
    parser.add_argument("--mac", required=True)
    parser.add_argument("--ca", type=Path, help="PEM file of the gateway's CA; without it, plaintext")
    asked = parser.parse_args()
    options = AgentOptions(ip=asked.ip, mac=asked.mac)
    agent = SampleAgent(asked.address, options, asked.ca.read_bytes() if asked.ca else None)
    await agent.connect()
    await agent.ended.wait()
    await agent.close()


if __name__ == "__main__":
    asyncio.run(_main())
