"""Whatever an agent sends, its link refuses or fences it: nothing else is raised, and no command ends twice."""

import asyncio
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.contracts.errors import LinkRefused
from quarterdeck.wire.agent_v1 import agent_pb2 as native
from tests.conformance.handpacked import integer, nested, octets, pack
from tests.unit.gateway.foreign.recording import written_command
from tests.unit.gateway.foreign.test_deepflow import NAME, Link

_numbers = st.sampled_from([0, 1, 2, 3, 4, 5, 2**32, 2**64 - 1])
_texts = st.binary(max_size=6)


def _field(number: int, values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: octets(number, value))


_contents = st.sampled_from([b"", b"a", b"abc"])
_chunks = st.lists(
    st.one_of(
        _numbers.map(lambda value: integer(1, value)),
        _field(2, _contents),
        _field(3, _contents.map(lambda value: hashlib.md5(value).hexdigest().encode())),
        _field(3, _texts),
        st.integers(0, 4).map(lambda value: integer(4, value)),
    ),
    max_size=4,
).map(lambda fields: pack(*fields))
_commands = st.one_of(_texts, _field(2, _texts), _field(6, _texts), _field(7, _field(1, _texts)))
_namespaces = st.one_of(_texts, _field(2, _texts), _numbers.map(lambda value: integer(1, value)))
_fields = st.one_of(
    _numbers.map(lambda value: integer(2, value)),
    _field(3, _texts),
    _field(4, _commands),
    _field(5, _namespaces),
    _field(6, _chunks),
    _field(6, _texts),
    st.just(NAME),
    st.just(nested(99, octets(1, b"later"))),
)
_frames = st.one_of(st.binary(max_size=40), st.lists(_fields, max_size=6).map(lambda fields: pack(*fields)))


@settings(max_examples=150, deadline=None)
@given(st.lists(_frames, max_size=12))
def test_any_frames_are_answers_or_refused_or_fenced(frames: list[bytes]) -> None:
    """S1-4, S1-17"""
    asyncio.run(_converse(frames))


async def _converse(frames: list[bytes]) -> None:
    kinds = ("catalogue", "list_commands", "list_namespaces")
    commands = [
        written_command(kind, spec=native.CommandSpec(command_type=kind, payload=b'{"ident": "ps"}'))
        for kind in kinds
    ]
    link = Link(*commands)
    for command in commands:
        await link.conversation.write_order(command)
    for frame in frames:
        try:
            await link.conversation.take(frame)
        except LinkRefused:
            break
    ended: set[str] = set()
    for kind, *what in link.desk.told:
        if kind in {"output", "finished"}:
            assert what[0] not in ended
        if kind == "finished":
            ended.add(what[0])
