"""A connection that outlives its clients: late servers, refused passwords, dead read loops."""

import asyncio
import inspect
from pathlib import Path

import nats.errors
import structlog

from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Bus, Outgoing, Patience, ensure_streams
from quarterdeck.core.bus.client import CLIENT_ERRORS, WireClient
from quarterdeck.core.bus.wire import Delivery
from quarterdeck.embedded.nats_server import NatsServer
from tests.integration.bus.polling import until

QUICK = Patience(ping_every_s=0.2, ping_timeout_s=0.5, suspicious_age_s=0.1)
EVENT = Outgoing("qd.event.acme._.c1.command.sent", b"1")


async def test_bus_connects_to_a_server_that_comes_later(
    nats_server_binary: Path, nats_server: NatsServer
) -> None:
    """A service may start before NATS does, and says meanwhile why it is not ready."""
    await nats_server.stop()

    bus = await Bus.connect(nats_server.url, name="early", wait_s=0.1)
    trouble_before = bus.trouble
    await nats_server.start()
    await ensure_streams(bus)

    assert "refused" in trouble_before.lower() or "connect" in trouble_before.lower()
    assert bus.trouble == ""
    await bus.close()


async def test_bus_recovers_from_a_refused_password(nats_server_binary: Path, tmp_path: Path) -> None:
    """An "Authorization Violation" closes nats-py's client for good; ours tries with a new one."""
    guarded = await _guarded_server(nats_server_binary, tmp_path, port=-1, password="old")
    port = await _port_of(guarded, tmp_path)
    bus = await Bus.connect(f"nats://quarterdeck:new@127.0.0.1:{port}", name="refused", wait_s=0.5)
    assert not bus.healthy
    assert "authorization" in bus.trouble.lower()

    guarded.kill()
    await guarded.wait()
    guarded = await _guarded_server(nats_server_binary, tmp_path, port=port, password="new")

    await until(lambda: _is_healthy(bus))
    await bus.close()
    guarded.kill()
    await guarded.wait()


async def test_dead_read_loop_is_noticed_and_replaced(own_bus: Bus) -> None:
    """An unexpected exception ends nats-py's read loop while `is_connected` stays true."""

    def explode(_message: Delivery) -> None:
        raise ZeroDivisionError

    trap = own_bus._connection.listen("trap", explode)
    own_bus._connection.send("trap")
    trap.close()

    ack = await own_bus.publish(EVENT, timeout_s=30)

    assert ack.stream == FEED


async def test_client_that_the_server_threw_out_is_replaced(own_bus: Bus) -> None:
    """Stale connections and protocol errors close the client; publishing goes on."""
    own_bus._connection.send_command(b"NONSENSE\r\n")

    ack = await own_bus.publish(EVENT, timeout_s=30)

    assert ack.stream == FEED


async def test_crash_in_a_callback_ends_no_connection(own_bus: Bus, nats_server: NatsServer) -> None:
    """A bug of ours must not leave a bus that is dead and says nothing."""
    crashes = 0

    def explode_once() -> None:
        nonlocal crashes
        crashes += 1
        if crashes == 1:
            raise ZeroDivisionError

    own_bus.on_reconnect(explode_once)

    await nats_server.restart()

    assert (await own_bus.publish(EVENT, timeout_s=30)).stream == FEED


async def test_password_in_the_url_is_not_logged(shared_nats_url: str) -> None:
    """S1-23: logs hold no secrets."""
    url = shared_nats_url.replace("nats://", "nats://quarterdeck:canary@")
    with structlog.testing.capture_logs() as lines:
        bus = await Bus.connect(url, name="secretive")
        await bus.close()

    assert any(line["event"] == "bus.connected" for line in lines)
    assert "canary" not in str(lines)


async def test_reconnects_are_announced(own_bus: Bus, nats_server: NatsServer) -> None:
    again = asyncio.Event()
    own_bus.on_reconnect(again.set)

    await nats_server.restart()

    await asyncio.wait_for(again.wait(), 30)
    assert own_bus.healthy


async def test_closing_is_quick_while_the_server_is_frozen(own_bus: Bus, nats_server: NatsServer) -> None:
    """A full socket towards a frozen server must not hang a drain."""
    nats_server.pause()
    bodies = [Outgoing(EVENT.subject, bytes(900_000)) for _ in range(30)]
    waiting = asyncio.gather(*(own_bus.publish_soon(outgoing) for outgoing in bodies), return_exceptions=True)

    await asyncio.wait_for(own_bus.close(), 10)

    assert all(isinstance(outcome, Exception) for outcome in await waiting)
    nats_server.resume()


def test_every_error_of_nats_py_is_mapped() -> None:
    """A test that enumerates the dependency's exceptions and fails on an unmapped one."""
    kinds = [
        kind for _, kind in inspect.getmembers(nats.errors, inspect.isclass) if issubclass(kind, Exception)
    ]

    assert [kind for kind in kinds if not issubclass(kind, CLIENT_ERRORS)] == []


async def test_private_parts_of_nats_py_are_where_we_look(shared_nats_url: str) -> None:
    """client.py names them; an update of nats-py that moves them fails here and not in production."""
    client = WireClient()
    await client.connect(shared_nats_url)
    received: list[Delivery] = []
    subscription = await client.listen("spot", "", received.append)

    await client.write(b"PUB spot 2\r\nhi\r\n")
    await client.flush()

    assert received == [Delivery("spot", "", b"hi", None)]
    assert subscription.pending_msgs == 0
    assert client._transport is not None
    assert client._transport._io_writer.transport is not None  # type: ignore[attr-defined]
    await client.close()


async def _is_healthy(bus: Bus) -> bool:
    return bus.healthy


async def _guarded_server(
    binary: Path, directory: Path, *, port: int, password: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(str(binary), "-a", "127.0.0.1", "-p", str(port), "--ports_file_dir", str(directory)),
        *("--user", "quarterdeck", "--pass", password),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def _port_of(server: asyncio.subprocess.Process, directory: Path) -> int:
    """From the file that the server writes once it listens."""
    path = directory / f"nats-server_{server.pid}.ports"

    async def written() -> bool:
        return path.exists() and path.read_text().strip().endswith("}")

    await until(written)
    return int(path.read_text().split('"nats://')[1].split('"')[0].rpartition(":")[2])
