"""A gateway's side of the conversation with an executor, spoken over the ExecutorPort: for tests.

Takes everything the executor says, answers with acknowledgements unless told not to, and lets a test wait for what it
expects. Checks on the way that output is contiguous and that a result comes after all output of its command.
"""

import asyncio
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from quarterdeck.agent.ports import ExecutorPort
from quarterdeck.contracts.ids import new_id
from quarterdeck.contracts.limits import OUTPUT_CHUNK_BYTES
from quarterdeck.wire.agent_v1 import agent_pb2 as pb

Key = tuple[str, int]


class ChunkSeen(NamedTuple):
    offset: int
    length: int


class Received:
    """What came of one stream: the bytes themselves, or (large streams) only their number and digest."""

    def __init__(self, *, keep: bool) -> None:
        self.content = bytearray()
        self.length = 0
        self.acked = 0
        self.digest = hashlib.sha256()
        self._keep = keep

    def take(self, output: pb.Output) -> None:
        assert output.offset <= self.length, "a gap"
        news = output.chunk[self.length - output.offset :]
        self.length += len(news)
        self.digest.update(news)
        if self._keep:
            self.content += news

    def forget_from(self, offset: int) -> None:
        """As a gateway whose last publishes failed."""
        del self.content[offset:]
        self.length = offset
        self.digest = hashlib.sha256(self.content)


class Conversation:
    def __init__(self, executor: ExecutorPort, *, window_bytes: int = 2 * 1024 * 1024) -> None:
        self.executor = executor
        self.window_bytes = window_bytes
        self.ack_output = True
        self.ack_reports = True
        self.hello = pb.Hello()
        self.reports: list[Any] = []
        """Everything but output, in the order it came, repetitions included."""
        self.keep_content = True
        self.output: dict[tuple[str, int, int], Received] = defaultdict(
            lambda: Received(keep=self.keep_content)
        )
        """By command id, attempt and stream."""
        self.chunks: list[ChunkSeen] = []
        self.largest_in_flight_bytes = 0
        self._revision = itertools.count(1)
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    # ---- Link

    async def open(self) -> pb.Hello:
        """A new link: Challenge, Hello, Welcome. Returns the Hello."""
        await self.cut()
        await self.say(challenge=pb.Challenge(nonce=bytes(32)))
        frame = pb.AgentFrame.FromString(await self.executor.receive())
        assert [message.WhichOneof("body") for message in frame.messages] == ["hello"]
        self.hello = frame.messages[0].hello
        await self.say(welcome=self.welcome())
        self.listen()
        return self.hello

    def welcome(self) -> pb.Welcome:
        """For the next link, with an epoch above all before."""
        self.epoch = pb.Epoch(incarnation=1, revision=next(self._revision))
        return pb.Welcome(epoch=self.epoch, window_bytes=self.window_bytes, heartbeat_interval_ms=15_000)

    def listen(self) -> None:
        """Start to take what the executor says."""
        self._reader = asyncio.create_task(self._read())

    async def cut(self) -> None:
        """The link is gone: nobody listens any more."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def say(self, **body: Any) -> None:
        await self.executor.send(pb.GatewayFrame(messages=[pb.GatewayMessage(**body)]).SerializeToString())

    # ---- Commands

    async def shell(self, command: str, **order: Any) -> Key:
        return await self.order("shell", {"command": command}, **order)

    async def order(
        self,
        command_type: str,
        payload: object,
        *,
        key: Key | None = None,
        timeout_ms: int = 60_000,
        guest: str = "",
        **spec: Any,
    ) -> Key:
        """Send an order; `payload` is encoded as JSON unless it is bytes. Returns its (command id, attempt)."""
        # Unique on the host, as in production: the marker in a process's environment must name one command only.
        key = key or (new_id(), 1)
        encoded = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        command_spec = pb.CommandSpec(
            command_type=command_type, payload=encoded, **{"grace_ms": 5000, "priority": 5, **spec}
        )
        await self.say(
            order=pb.Order(
                command_id=key[0],
                attempt=key[1],
                epoch=self.epoch,
                spec=command_spec.SerializeToString(),
                timeout_ms=timeout_ms,
                guest=guest,
                traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
        )
        return key

    async def terminate(self, key: Key, *, grace_ms: int = 5000) -> None:
        await self.say(terminate=pb.Terminate(command_id=key[0], attempt=key[1], grace_ms=grace_ms))

    async def run(self, command: str, **order: Any) -> pb.Result:
        return await self.result(await self.shell(command, **order))

    # ---- What came

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 45) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self._reader is not None and self._reader.done():
                    self._reader.result()
                self._news.clear()
                await self._news.wait()

    async def until_window_is_full(self, key: Key) -> None:
        """Of one command that prints a lot. The last chunk is left out when it does not fit as a whole."""
        await self.until(lambda: len(self.stdout(key)) > self.window_bytes - OUTPUT_CHUNK_BYTES)

    async def result(self, key: Key, *, timeout_s: float = 45) -> pb.Result:
        await self.until(lambda: bool(self.of(key, pb.Result)), timeout_s=timeout_s)
        result = self.of(key, pb.Result)[0]
        assert isinstance(result, pb.Result)
        return result

    async def report(self, key: Key, kind: type[Any]) -> Any:
        await self.until(lambda: bool(self.of(key, kind)))
        return self.of(key, kind)[0]

    def of(self, key: Key, kind: type[Any]) -> list[Any]:
        """The reports of one kind about one command."""
        return [r for r in self.reports if isinstance(r, kind) and (r.command_id, r.attempt) == key]

    def stdout(self, key: Key) -> bytes:
        return bytes(self.output[*key, pb.STDOUT].content)

    def stderr(self, key: Key) -> bytes:
        return bytes(self.output[*key, pb.STDERR].content)

    async def acknowledge(self, *seqs: int) -> None:
        await self.say(report_ack=pb.ReportAck(report_seq=seqs))

    async def acknowledge_output(self, key: Key, offset: int, stream: Any = pb.STDOUT, **more: Any) -> None:
        await self.say(
            output_ack=pb.OutputAck(command_id=key[0], attempt=key[1], stream=stream, offset=offset, **more)
        )

    async def _read(self) -> None:
        try:
            while True:
                frame = pb.AgentFrame.FromString(await self.executor.receive())
                for message in frame.messages:
                    await self._take(getattr(message, message.WhichOneof("body") or ""))
                self._news.set()
        except ConnectionResetError:
            pass  # the link is over; what the test waits for may have come before
        finally:
            self._news.set()

    async def _take(self, body: Any) -> None:
        if isinstance(body, pb.Output):
            await self._take_output(body)
            return
        if isinstance(body, pb.Result):
            for stream, end in ((pb.STDOUT, body.stdout), (pb.STDERR, body.stderr)):
                received = self.output[body.command_id, body.attempt, stream]
                assert received.length == end.length
                assert (
                    not end.sha256 or received.digest.digest() == end.sha256
                )  # none: bytes were lost, and it says so
        self.reports.append(body)
        if self.ack_reports and "report_seq" in body.DESCRIPTOR.fields_by_name:
            await self.acknowledge(body.report_seq)

    async def _take_output(self, output: pb.Output) -> None:
        key = (output.command_id, output.attempt, output.stream)
        received = self.output[key]
        received.take(output)
        if self.ack_output:
            received.acked = received.length
            await self.acknowledge_output(key[:2], received.length, output.stream)
        in_flight_bytes = sum(stream.length - stream.acked for stream in self.output.values())
        self.largest_in_flight_bytes = max(self.largest_in_flight_bytes, in_flight_bytes)
        assert len(output.chunk) <= 64 * 1024
        self.chunks.append(ChunkSeen(output.offset, len(output.chunk)))

    @property
    def received_bytes(self) -> int:
        return sum(stream.length for stream in self.output.values())
