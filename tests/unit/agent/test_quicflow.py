"""The quicflow SDK without a wire: dispatcher, command handler, error texts, and a session over a fake connection."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from quarterdeck.agent.errors import ConnectionLost, LinkEnded
from quarterdeck.agent.handlers import HandlerContext, Handlers
from quarterdeck.agent.quicflow import (
    CannotExecute,
    CommandExecutor,
    CommandHandler,
    Dispatcher,
    InvalidPayload,
    MessageType,
    QuicflowClient,
    QuicflowSettings,
    UnknownCommand,
)
from quarterdeck.agent.sdk import Agent
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.testing.eventually import eventually
from quarterdeck.wire import quicflow
from quarterdeck.wire.backbone_v1 import backbone_pb2 as pb
from quarterdeck.wire.quicflow_streams import StreamFrame


class MyExecutor:
    """As the example of the source has it."""

    async def execute(self, command_type: str, payload: bytes) -> bytes:
        match command_type:
            case "restart":
                return b'{"success":true,"message":"Restarted"}'
            case "strict":
                raise InvalidPayload("delay_seconds is no number")
            case "busy":
                raise CannotExecute("resource busy")
            case "broken":
                raise RuntimeError("disk on fire")
            case _:
                raise UnknownCommand(command_type)


class Named:
    client_id = "client-001"


def command(command_type: str, payload: bytes = b"{}", msg_id: str = "c-1") -> pb.DataMessage:
    return quicflow.command(msg_id, "client-001", command_type, payload, 1)


async def answered(executor: CommandExecutor | Handlers, message: pb.DataMessage) -> pb.AckMessage:
    response = await CommandHandler(Named(), executor).handle(message)
    assert (response.type, response.sender_id) == (pb.MESSAGE_TYPE_RESPONSE, "client-001")
    return quicflow.read_response(response)


async def test_command_is_parsed_executed_and_answered() -> None:
    """S0-10, S0-11, S0-15"""
    answer = await answered(MyExecutor(), command("restart", b'{"delay_seconds": 5}'))

    assert (answer.msg_id, answer.status) == ("c-1", pb.ACK_STATUS_SUCCESS)
    assert json.loads(answer.result) == {"success": True, "message": "Restarted"}


@pytest.mark.parametrize(
    ("command_type", "error"),
    [
        ("self_destruct", "unknown command: self_destruct"),
        ("strict", "invalid payload: delay_seconds is no number"),
        ("busy", "cannot execute: resource busy"),
        ("broken", "execution failed: disk on fire"),
    ],
)
async def test_errors_have_the_texts_of_the_source(command_type: str, error: str) -> None:
    """S0-12, S0-20, S0-21"""
    answer = await answered(MyExecutor(), command(command_type))

    assert (answer.status, answer.error) == (pb.ACK_STATUS_FAILURE, error)


async def test_message_that_is_no_command_is_an_invalid_payload() -> None:
    """S0-21, S0-28"""
    answer = await answered(MyExecutor(), pb.DataMessage(msg_id="c-1", payload=b"no json"))

    assert answer.error.startswith("invalid payload: ")


async def test_handler_of_an_agent_runs_on_this_wire_too() -> None:
    """S0-11, S0-13: written once with the decorator, typed parameters and all."""
    agent = Agent()
    seen: list[str] = []

    class RestartParams(msgspec.Struct):
        delay_seconds: int

    @agent.handler("restart")
    async def restart(params: RestartParams, context: HandlerContext) -> dict[str, int]:
        seen.append(context.command_id)
        return {"waited": params.delay_seconds}

    good = await answered(agent.handlers, command("restart", b'{"delay_seconds": 5}'))
    bad = await answered(agent.handlers, command("restart", b'{"delay_seconds": "soon"}'))

    assert (good.result, seen) == (b'{"waited":5}', ["c-1"])
    assert bad.error.startswith("invalid payload: ")


async def test_dispatcher_gives_each_type_to_its_handler() -> None:
    """S0-13"""
    dispatcher = Dispatcher()
    dispatcher.register_handler(MessageType.COMMAND, CommandHandler(Named(), MyExecutor()))
    with pytest.raises(ValueError, match="has a handler already"):
        dispatcher.register_handler(MessageType.COMMAND, CommandHandler(Named(), MyExecutor()))
    dispatcher.start()

    response = await dispatcher.dispatch(command("restart"))

    assert response is not None
    assert response.type == pb.MESSAGE_TYPE_RESPONSE


class FakeConnection:
    """A server's end in this process: `hear` what the client sends, `say` what it receives."""

    def __init__(self, *, polite: bool = True) -> None:
        self.polite = polite
        self.sent: list[tuple[StreamFrame, pb.Frame]] = []
        self.closed = False
        self._incoming: asyncio.Queue[StreamFrame | Exception] = asyncio.Queue()
        self._next_stream_id = 0

    def new_stream(self) -> int:
        self._next_stream_id += 4
        return self._next_stream_id - 4

    async def send(self, sent: StreamFrame) -> None:
        if self.closed:
            raise ConnectionLost("the connection has ended")
        frame = quicflow.read_frame(sent.frame)
        self.sent.append((sent, frame))
        if frame.type == pb.FRAME_TYPE_PING and self.polite:
            self.say(StreamFrame(sent.stream_id, quicflow.pong(1)))

    async def receive(self) -> StreamFrame:
        said = await self._incoming.get()
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None:
        self.closed = True

    def say(self, said: StreamFrame | Exception) -> None:
        self._incoming.put_nowait(said)

    def order(self, message: pb.DataMessage, stream_id: int = 1) -> None:
        self.say(StreamFrame(stream_id, quicflow.data(message)))

    @property
    def answers(self) -> list[tuple[int, pb.AckMessage]]:
        return [
            (sent.stream_id, quicflow.read_response(quicflow.read_data(frame)))
            for sent, frame in self.sent
            if frame.type == pb.FRAME_TYPE_DATA and quicflow.read_data(frame).type == pb.MESSAGE_TYPE_RESPONSE
        ]

    def count(self, kind: int) -> int:
        return sum(frame.type == kind for _, frame in self.sent)


class Stage:
    """A running client, and every connection that it made."""

    def __init__(self) -> None:
        self.connections: list[FakeConnection] = []
        self.polite = True
        self.told: list[str] = []
        settings = QuicflowSettings(
            server=ServerAddress.parse("quic://gateway:8474"),
            client_id="client-001",
            ca_pem=b"",
            heartbeat_interval_s=0.02,
            stop_grace_s=5,
        )
        self.client = QuicflowClient(
            settings,
            connect=self._connect,
            on_connected=lambda: self.told.append("connected"),
            on_disconnected=lambda: self.told.append("disconnected"),
        )
        self.dispatcher = Dispatcher()
        self.release = asyncio.Event()
        agent = Agent()

        @agent.handler("wait")
        async def wait() -> str:
            await self.release.wait()
            return "done"

        @agent.handler("echo")
        async def echo(params: object) -> object:
            return params

        self.dispatcher.register_handler(MessageType.COMMAND, CommandHandler(self.client, agent.handlers))
        self.dispatcher.start()
        self.client.set_dispatcher(self.dispatcher)

    async def _connect(self, _settings: QuicflowSettings) -> FakeConnection:
        self.connections.append(FakeConnection(polite=self.polite))
        return self.connections[-1]

    @property
    def connection(self) -> FakeConnection:
        return self.connections[-1]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    running = asyncio.create_task(stage.client.run())
    await asyncio.wait_for(stage.client.connected.wait(), 20)
    yield stage
    stage.release.set()
    stage.client.stop()
    await asyncio.wait_for(running, 20)


async def test_client_answers_on_the_stream_of_the_command(stage: Stage) -> None:
    """S0-10"""
    stage.connection.order(command("wait", msg_id="c-1"), stream_id=1)
    stage.connection.order(command("echo", b"[1]", msg_id="c-2"), stream_id=5)

    await eventually(lambda: stage.connection.answers)  # the quick one does not wait for the slow one
    stage.release.set()
    await eventually(lambda: len(stage.connection.answers) == 2)

    (first_stream, first), (second_stream, second) = stage.connection.answers
    assert (first_stream, first.msg_id, first.result) == (5, "c-2", b"[1]")
    assert (second_stream, second.msg_id, second.result) == (1, "c-1", b'"done"')


async def test_client_sends_heartbeats(stage: Stage) -> None:
    await eventually(lambda: stage.connection.count(pb.FRAME_TYPE_PING) > 3)

    pings = {sent.stream_id for sent, frame in stage.connection.sent if frame.type == pb.FRAME_TYPE_PING}
    assert len(pings) > 3  # a stream each


async def test_client_comes_back_after_a_lost_connection(stage: Stage) -> None:
    """S0-36, S0-37"""
    stage.connection.say(ConnectionLost("cut"))
    await eventually(lambda: len(stage.connections) == 2 and stage.client.connected.is_set())

    stage.connection.order(command("echo", b"1"))

    await eventually(lambda: stage.connection.answers)
    assert stage.told == ["connected", "disconnected", "connected"]


async def test_server_that_does_not_answer_heartbeats_is_left(stage: Stage) -> None:
    """S0-37"""
    stage.connection.polite = False

    await eventually(lambda: len(stage.connections) >= 2)

    assert stage.connections[0].count(pb.FRAME_TYPE_PING) >= quicflow.MISSED_HEARTBEATS


async def test_client_that_is_turned_away_tries_again(stage: Stage) -> None:
    """A name that is taken may be free later."""
    stage.connection.say(LinkEnded("protocol", "closed with code 1: protocol"))

    await eventually(lambda: len(stage.connections) == 2 and stage.client.connected.is_set())


async def test_stop_lets_commands_end_and_answers_them(stage: Stage) -> None:
    stage.connection.order(command("wait"))
    await eventually(lambda: stage.dispatcher._running)

    stage.client.stop()
    await eventually(lambda: not stage.dispatcher._started)
    stage.connection.order(command("echo", msg_id="late"), stream_id=5)
    await eventually(lambda: stage.connection.answers)
    stage.release.set()

    await eventually(lambda: len(stage.connection.answers) == 2)
    (_, late), (_, done) = stage.connection.answers
    assert (late.msg_id, late.error) == ("late", "cannot execute: the client stops")
    assert (done.msg_id, done.status) == ("c-1", pb.ACK_STATUS_SUCCESS)


async def test_callback_is_an_event_of_its_own(stage: Stage) -> None:
    """S0-10"""
    told = quicflow.CommandCallback(callback_id="c-1", command_type="restart", success=True, duration_ms=7)

    await stage.client.send_callback(told)

    message = quicflow.read_data(stage.connection.sent[-1][1])
    event = quicflow.read_command(message)
    assert (message.type, event.command_type) == (pb.MESSAGE_TYPE_EVENT, "command.callback")
    assert quicflow.read_callback(event) == told


async def test_event_without_a_connection_is_refused() -> None:
    with pytest.raises(ConnectionLost):
        await Stage().client.send_event("report.status", b"{}")
