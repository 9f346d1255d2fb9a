"""What libvirt, QEMU and programs in guests say: a value, or an error of ours. Nothing else comes out."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.contracts.errors import DecodeError
from quarterdeck.machines.discovery.domain_xml import guest_of
from quarterdeck.machines.discovery.qom import endpoint_of
from quarterdeck.machines.errors import ConnectionEnded, MachineError, ProtocolViolation
from quarterdeck.machines.guest import Guest, ProtocolType
from quarterdeck.machines.qmp import QmpProtocolBuilder
from quarterdeck.machines.virtio_serial import JsonLines, VirtioSerialProtocol
from tests.effort import effort
from tests.fuzz.damage import damaged, hostile_texts
from tests.integration.machines.monitor_peer import MonitorConnection, monitor
from tests.unit.machines.discovery.test_domain_xml import CHANNELS, domain

URI = "qemu:///system"
GRAPHICS = "<graphics type='spice' port='5901' listen='0.0.0.0'/>"
MONITOR = """<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<qemu:arg value='-qmp'/><qemu:arg value='unix:/run/vm1.sock,server=on'/></qemu:commandline>"""
DOMAINS = [domain(CHANNELS), domain(GRAPHICS), domain(more=MONITOR), "<!DOCTYPE d><domain/>"]

REPLIES = [
    b'{"return": {}, "id": "x-__qmp#00000"}\r\n',
    b'{"error": {"class": "GenericError", "desc": "no"}, "id": 5}\r\n',
    b'{"event": "STOP", "data": {"a": [1]}, "timestamp": {"seconds": 1, "microseconds": 2}}\r\n',
    b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n',
]
LINES = [b'{"id": "a-0", "x": [1, 2.5e3, null]}\n', b'"text"\n[]\n', '{"ü": "\\u00fc"}\n'.encode()]


@given(hostile_texts(*DOMAINS))
@effort(300)
def test_a_domain_is_a_guest_or_an_error(xml: str) -> None:
    """S2-25F"""
    try:
        found = guest_of(xml, uri=URI)
    except DecodeError:
        return
    assert isinstance(found, Guest)
    assert found.name


@given(damaged([document.encode() for document in DOMAINS]))
@effort(300)
def test_a_damaged_domain_is_a_guest_or_an_error(xml: bytes) -> None:
    """S2-25F"""
    try:
        assert guest_of(xml.decode("utf-8", errors="surrogateescape"), uri=URI).name
    except DecodeError:
        pass


@given(hostile_texts("disconnected:unix:/run/echo.sock,server=on", "tcp:[::1]:4444,server=on <-> ::1:5"))
@effort(200)
def test_the_name_of_a_chardev_is_an_endpoint_or_none(filename: str) -> None:
    """S2-25F"""
    assert endpoint_of(filename) is None or str(endpoint_of(filename))


class _Recorded(VirtioSerialProtocol):
    """A channel whose guest has said it all."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(channel=None, timeout_s=60)
        self._pieces = iter(pieces)

    async def receive(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise ConnectionEnded("that was all", guest="vm1", protocol=ProtocolType.VIRTIO_SERIAL) from None


@given(st.lists(damaged(LINES), min_size=1, max_size=10))
@effort(200)
def test_lines_of_a_guest_are_messages_or_violations(pieces: list[bytes]) -> None:
    """S2-25F"""

    async def read_all() -> None:
        lines = JsonLines(_Recorded([*pieces, b"\n", b'{"the": "end"}\n']), max_line_bytes=1_000)
        message = None
        while message != {"the": "end"}:
            try:
                message = await lines.receive_message()
            except ProtocolViolation:
                continue

    asyncio.run(read_all())


@given(st.lists(damaged(REPLIES), min_size=1, max_size=5))
@effort(60)
def test_a_monitor_answers_or_fails_and_the_next_one_works(replies: list[bytes]) -> None:
    """S2-6, S2-25F"""

    async def noise(connection: MonitorConnection) -> None:
        await connection.greet()
        await connection.request()
        for reply in replies:
            connection.write(reply)
        await connection.writer.drain()

    async def answers(connection: MonitorConnection) -> None:
        await connection.greet()
        connection.answer(await connection.request(), "an answer")
        await connection.until_client_leaves()

    async def ask(directory: Path) -> None:
        async with monitor(directory, noise, answers) as peer:
            qmp = QmpProtocolBuilder().with_timeout(60).build()
            await qmp.connect(peer.guest)
            events = qmp.events()
            try:
                await qmp.execute_command("stop")
            except MachineError:
                pass
            assert await qmp.execute_command("cont") == "an answer"
            await qmp.disconnect()
            try:
                async for event in events:
                    assert event.event
            except MachineError:
                pass

    with tempfile.TemporaryDirectory(prefix="qd-") as directory:
        asyncio.run(ask(Path(directory)))
