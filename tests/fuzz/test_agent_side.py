"""An agent whose gateway talks nonsense, or whose own files are damaged: only errors of its own come out."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.credentials import Credentials, Enrolment, _read_enrolment
from quarterdeck.agent.errors import BadAgentSettings, ConnectionLost, LinkEnded
from quarterdeck.agent.link import Link, Profile
from quarterdeck.contracts.errors import DecodeError
from quarterdeck.core.clock import ManualClock
from quarterdeck.embedded import ready_file
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from quarterdeck.wire.identity import AgentKey
from tests.effort import effort
from tests.fuzz.damage import damaged

_EPOCH = pb.Epoch(incarnation=1, revision=1)


def _frame(**body: Any) -> bytes:
    return pb.GatewayFrame(messages=[pb.GatewayMessage(**body)]).SerializeToString()


_SPEC = pb.CommandSpec(command_type="nobody handles this", payload=b"{}", priority=5).SerializeToString()
FRAMES = [
    _frame(challenge=pb.Challenge(nonce=bytes(32), gateway_id="g")),
    _frame(welcome=pb.Welcome(epoch=_EPOCH, window_bytes=1000, heartbeat_interval_ms=1000)),
    _frame(enrolled=pb.Enrolled(tenant="acme", agent_id="a1")),
    _frame(order=pb.Order(command_id="c1", attempt=1, epoch=_EPOCH, spec=_SPEC, timeout_ms=9)),
    _frame(terminate=pb.Terminate(command_id="c1", attempt=1, grace_ms=1)),
    _frame(output_ack=pb.OutputAck(command_id="c1", attempt=1, stream=pb.STDOUT, offset=2**40, resend=True)),
    _frame(report_ack=pb.ReportAck(report_seq=[0, 1, 2**32 - 1])),
    _frame(credit=pb.Credit(window_bytes=2**31)),
    _frame(inventory_request=pb.InventoryRequest(request_id=7, kind="?")),
    _frame(goodbye=pb.Goodbye(reason="draining")),
    b"",
]
_frames = st.lists(st.sampled_from(FRAMES) | damaged(FRAMES), max_size=8)


class _Gateway:
    """A connection on which these frames come, and then its end."""

    peer = "nonsense"

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    async def send(self, frame: bytes) -> None: ...

    async def receive(self) -> bytes | None:
        return self._frames.pop(0) if self._frames else None

    async def close(self) -> None: ...


class _DeafExecutor:
    """Says hello, and takes whatever it is given."""

    async def send(self, frame: bytes) -> None: ...

    async def receive(self) -> bytes:
        return pb.AgentFrame(messages=[pb.AgentMessage(hello=pb.Hello())]).SerializeToString()


@effort(100)
@given(frames=_frames, enrolled=st.booleans())
def test_any_gateway_only_ends_its_link(frames: list[bytes], enrolled: bool) -> None:
    """S1-4: and the front tries the next one."""

    async def link() -> None:
        credentials = Credentials("a1", AgentKey.generate())
        credentials.enrolment = Enrolment(tenant="acme", agent_id="a1") if enrolled else None
        credentials.join_secret = "s" * 32
        one = Link(
            _Gateway(list(frames)),
            _DeafExecutor(),
            credentials,
            Profile(version="1"),
            ManualClock(),
            asyncio.Event(),
        )
        await one.open()
        await one._from_gateway()

    with pytest.raises((ConnectionLost, LinkEnded, DecodeError)):
        asyncio.run(link())


_READY = msgspec.json.encode(
    ready_file.ReadySystem(
        api="http://127.0.0.1:1", token="t", grpc="g", quic="q", ca="c", join_token="j", nats="n", redis="r",
        data_dir="d", pids={"nats": 1}, agents={"a": ready_file.LocalAgent(carrier="quic", pid=2)},
    )
)  # fmt: skip
_ENROLMENT = msgspec.json.encode(Enrolment(tenant="acme", agent_id="a1", issuer_key=bytes(32)))


def _read_credentials(file: Path) -> object:
    return _read_enrolment(file.parent, "a1")


@pytest.mark.parametrize(
    ("name", "sample", "read", "error"),
    [
        ("ready.json", _READY, ready_file.read, DecodeError),
        ("enrolment.json", _ENROLMENT, _read_credentials, BadAgentSettings),
        ("identity.key", bytes(range(32)), AgentKey.load_or_create, ValueError),
    ],
)
def test_damaged_file_is_refused_with_its_own_error(
    name: str, sample: bytes, read: Callable[[Path], object], error: type[Exception], tmp_path: Path
) -> None:
    file = tmp_path / name

    @effort(100)
    @given(damaged([sample]))
    def holds(raw: bytes) -> None:
        file.write_bytes(raw)
        try:
            read(file)
        except error:
            pass

    holds()
