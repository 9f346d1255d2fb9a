"""A stand-alone client of the dialect quicflow, written from the protocol's field numbers alone.

Imports nothing of ours but the hand-made codec: what it understands is what any client of this protocol would. Executes
`restart`, `update_config` and `echo`; any other type is unknown to it. `ClientOptions` choose how it answers, and make
it deaf or wrong on purpose; `say_*` lets a test put any bytes on any stream. Runs by itself too:

    python -m tests.conformance.agents.quicflow 127.0.0.1:8474 --client-id client-001 --ca ca.pem
"""

import argparse
import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived

from tests.conformance.handpacked import Message, integer, octets, pack, text

ALPN = "quic-backbone-v1"
PING, PONG, DATA, ACK = 1, 2, 3, 4
COMMAND, EVENT, QUERY, RESPONSE = 1, 2, 3, 4
SUCCESS, FAILURE, TIMEOUT = 1, 2, 3

_LENGTH_BYTES = 4
_CLOSE_TIMEOUT_S = 5.0


class Answering(Enum):
    """The ways in which clients of the field answer a command."""

    ACK_ON_THE_STREAM = auto()
    ACK_ON_OWN_STREAM = auto()
    RESPONSE_PROTOBUF = auto()
    RESPONSE_JSON = auto()
    CALLBACK = auto()
    """Nothing but the event `command.callback`."""


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """Who the client is, and in what it differs from a good one."""

    client_id: str = "client-001"
    answering: Answering = Answering.ACK_ON_THE_STREAM
    heartbeat_s: float | None = 15.0
    """None: never again after the first PING."""
    deaf: bool = False
    """Takes commands and does nothing."""
    ends_streams: bool = True
    """False: leaves its half of a command's stream open."""


class NotAccepted(Exception):
    """The server closed the connection instead of answering the first PING."""

    def __init__(self, code: int, phrase: str) -> None:
        super().__init__(f"{code} {phrase}")
        self.code = code
        self.phrase = phrase


@dataclass
class SampleClient:
    """One connection at a time: `connect`, then it serves by itself until `close` or the server hangs up."""

    address: str
    ca_pem: bytes
    options: ClientOptions = field(default_factory=ClientOptions)

    def __post_init__(self) -> None:
        self.orders: list[Message] = []
        """Every DataMessage of type COMMAND that came."""
        self.acks: list[Message] = []
        """What the server answered to messages of ours."""
        self.pongs = 0
        self.server_time_ms = 0
        self.close_code: int | None = None
        self.close_phrase = ""
        self.config: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> Self:
        """Returns when the server has answered the first PING. Raises NotAccepted."""
        await self.dial()
        self.say_ping()
        await self.answered()
        if self.options.heartbeat_s is not None:
            self._spawn(self._keep_pinging(self.options.heartbeat_s))
        return self

    async def dial(self) -> None:
        """The connection without a word said on it."""
        host, _, port = self.address.rpartition(":")
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], server_name=host)
        configuration.load_verify_locations(cadata=self.ca_pem)
        self.ended = asyncio.Event()
        self._ponged = asyncio.Event()
        transport, self._protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Protocol(QuicConnection(configuration=configuration), self._heard, self._closed),
            local_addr=("127.0.0.1", 0),
        )
        self._transport = transport
        self._protocol.connect((host, int(port)))
        await self._protocol.wait_connected()

    async def answered(self) -> None:
        """Returns at the next PONG. Raises NotAccepted when the connection ends instead."""
        waits = [asyncio.create_task(event.wait()) for event in (self._ponged, self.ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._ponged.is_set():
            self._transport.close()
            raise NotAccepted(self.close_code or 0, self.close_phrase)

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            self._protocol.close()
            await asyncio.wait_for(self._protocol.wait_closed(), _CLOSE_TIMEOUT_S)
        except TimeoutError:
            pass  # the server does not say that it heard
        finally:
            self._transport.close()

    def vanish(self) -> None:
        """Be gone without a word, as after a crash."""
        for task in self._tasks:
            task.cancel()
        self._transport.abort()

    # ---- Words

    def say_ping(self, client_id: str | None = None) -> int:
        """A heartbeat, on a new stream that ends with it. The stream."""
        return self.say(PING, text(1, self.options.client_id if client_id is None else client_id))

    def say(self, kind: int, payload: bytes, *, stream_id: int | None = None, fin: bool = True) -> int:
        """One frame around `payload`; on a new stream unless told which."""
        frame = pack(integer(1, kind), octets(2, payload), integer(3, time.time_ns() // 1_000_000))
        return self.say_raw(len(frame).to_bytes(_LENGTH_BYTES) + frame, stream_id=stream_id, fin=fin)

    def say_raw(self, piece: bytes, *, stream_id: int | None = None, fin: bool = False) -> int:
        """Bytes that may be no frame at all."""
        quic = self._protocol._quic
        if stream_id is None:
            stream_id = quic.get_next_available_stream_id()
        quic.send_stream_data(stream_id, piece, end_stream=fin)
        self._protocol.transmit()
        return stream_id

    @property
    def free_streams(self) -> int:
        """How many more the server lets us open now."""
        quic = self._protocol._quic
        return int(quic._remote_max_streams_bidi) - int(quic.get_next_available_stream_id()) // 4

    def give_up(self, stream_id: int) -> None:
        """Neither write nor read on it any more, as clients do that cancel both halves when they are done."""
        self._protocol._quic.reset_stream(stream_id, 0)
        self._protocol._quic.stop_stream(stream_id, 0)
        self._protocol.transmit()

    def say_ack(
        self,
        msg_id: str,
        status: int = SUCCESS,
        result: bytes = b"",
        error: str = "",
        *,
        stream_id: int | None = None,
    ) -> None:
        self.say(ACK, _ack(msg_id, status, result, error), stream_id=stream_id)

    def say_message(
        self,
        kind: int,
        payload: bytes,
        *,
        msg_id: str = "m-1",
        wait_ack: bool = False,
        stream_id: int | None = None,
    ) -> None:
        """A DataMessage."""
        now_ms = time.time_ns() // 1_000_000
        message = pack(
            text(1, msg_id),
            text(2, self.options.client_id),
            text(3, "server"),
            integer(4, kind),
            octets(5, payload),
            integer(6, wait_ack),
            integer(7, now_ms),
        )
        self.say(DATA, message, stream_id=stream_id)

    def say_callback(
        self, callback_id: str, *, success: bool, result: object = None, error: str = ""
    ) -> None:
        body = {
            "callback_id": callback_id,
            "command_type": "restart",
            "success": success,
            "result": result,
            "error": error,
            "duration_ms": 12,
        }
        self.say_message(EVENT, json.dumps({"command_type": "command.callback", "payload": body}).encode())

    def answer(self, msg_id: str, status: int, result: bytes, error: str, stream_id: int) -> None:
        """In the way that the options say."""
        match self.options.answering:
            case Answering.ACK_ON_THE_STREAM:
                ack = _ack(msg_id, status, result, error)
                self.say(ACK, ack, stream_id=stream_id, fin=self.options.ends_streams)
            case Answering.ACK_ON_OWN_STREAM:
                self.say_ack(msg_id, status, result, error)
            case Answering.RESPONSE_PROTOBUF:
                self.say_message(RESPONSE, _ack(msg_id, status, result, error), stream_id=stream_id)
            case Answering.RESPONSE_JSON:
                encoded = base64.b64encode(result).decode()
                body = {"msg_id": msg_id, "status": status, "result": encoded, "error": error}
                self.say_message(RESPONSE, json.dumps(body).encode(), stream_id=stream_id)
            case Answering.CALLBACK:
                shown = json.loads(result) if result else None
                self.say_callback(msg_id, success=status == SUCCESS, result=shown, error=error)

    # ---- Deeds

    def _heard(self, stream_id: int, frame: Message) -> None:
        kind, payload = frame.integer(1), frame.octets(2)
        if kind == PONG:
            self.pongs += 1
            self.server_time_ms = Message(payload).signed(1)
            self._ponged.set()
        elif kind == ACK:
            self.acks.append(Message(payload))
        elif kind == DATA and Message(payload).integer(4) == COMMAND:
            self.orders.append(Message(payload))
            if not self.options.deaf:
                self._spawn(self._execute(Message(payload), stream_id))

    def _closed(self, code: int, phrase: str) -> None:
        self.close_code, self.close_phrase = code, phrase
        self.ended.set()

    async def _execute(self, order: Message, stream_id: int) -> None:
        ordered = json.loads(order.octets(5))
        handlers: dict[str, Callable[[Any], Any]] = {
            "restart": self._restart,
            "update_config": self._update_config,
            "echo": self._echo,
        }
        handler = handlers.get(ordered["command_type"])
        try:
            if handler is None:
                raise ValueError(f"unknown command: {ordered['command_type']}")
            result = json.dumps(await handler(ordered["payload"])).encode()
        except (ValueError, TypeError, KeyError) as error:
            self.answer(order.text(1), FAILURE, b"", str(error), stream_id)
        else:
            self.answer(order.text(1), SUCCESS, result, "", stream_id)

    async def _restart(self, parameters: dict[str, Any]) -> dict[str, Any]:
        delay_s = parameters.get("delay_seconds", 0)
        if not isinstance(delay_s, (int, float)) or delay_s < 0:
            raise ValueError("invalid parameters: delay_seconds")
        await asyncio.sleep(delay_s)
        return {"success": True, "message": "Restarted"}

    async def _update_config(self, parameters: dict[str, Any]) -> dict[str, Any]:
        self.config.update(parameters["config"])
        return {"success": True, "message": "Config updated"}

    async def _echo(self, parameters: Any) -> Any:
        return parameters

    async def _keep_pinging(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self.say_ping()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ack(msg_id: str, status: int, result: bytes, error: str) -> bytes:
    return pack(text(1, msg_id), integer(2, status), octets(3, result), text(4, error))


class _Protocol(QuicConnectionProtocol):
    """Cuts what arrives on each stream into frames."""

    def __init__(
        self,
        quic: QuicConnection,
        heard: Callable[[int, Message], None],
        closed: Callable[[int, str], None],
    ) -> None:
        super().__init__(quic)
        self._heard_frame = heard
        self._closed_with = closed
        self._buffers: dict[int, bytes] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._take(event.stream_id, event.data)
        elif isinstance(event, ConnectionTerminated):
            self._closed_with(event.error_code, event.reason_phrase)

    def _take(self, stream_id: int, piece: bytes) -> None:
        buffer = self._buffers.pop(stream_id, b"") + piece
        while len(buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES])
            if len(buffer) < end:
                break
            frame, buffer = buffer[_LENGTH_BYTES:end], buffer[end:]
            self._heard_frame(stream_id, Message(frame))
        if buffer:
            self._buffers[stream_id] = buffer


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A client of the dialect quicflow.")
    parser.add_argument("address", help="host:port of the QUIC gateway")
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--ca", type=Path, required=True, help="PEM file of the gateway's CA")
    asked = parser.parse_args()
    client = SampleClient(asked.address, asked.ca.read_bytes(), ClientOptions(client_id=asked.client_id))
    await client.connect()
    await client.ended.wait()
    await client.close()


if __name__ == "__main__":
    asyncio.run(_main())
