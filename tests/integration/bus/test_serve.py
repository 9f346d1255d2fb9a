"""Request and reply over core NATS: orders and control messages to gateways."""

import asyncio

import pytest

from quarterdeck.contracts.errors import DecodeError, Unavailable
from quarterdeck.core.bus import Bus, MessageTooLarge, NoResponder, RequestFailed, RequestTimeout
from quarterdeck.embedded.nats_server import NatsServer

SUBJECT = "qd.gateway.g1.order"


async def echo(body: bytes, headers: dict[str, str]) -> bytes:
    return body + headers.get("More", "").encode()


async def test_answer_comes_back(bus: Bus) -> None:
    await bus.serve(SUBJECT, echo)

    assert await bus.request(SUBJECT, b"order", {"More": "!"}) == b"order!"


async def test_requests_run_at_once_and_start_in_order(bus: Bus) -> None:
    """An order never waits for the one before it."""
    started: list[bytes] = []
    all_there = asyncio.Event()

    async def wait_for_all(body: bytes, _headers: dict[str, str]) -> bytes:
        started.append(body)
        if len(started) == 50:
            all_there.set()
        await all_there.wait()
        return body

    await bus.serve(SUBJECT, wait_for_all)
    bodies = [str(number).encode() for number in range(50)]

    assert await asyncio.gather(*(bus.request(SUBJECT, body, timeout_s=10) for body in bodies)) == bodies
    assert started == bodies


async def test_subject_that_nobody_serves(bus: Bus) -> None:
    """A gateway that is gone is known at once, not after a time-out."""
    with pytest.raises(NoResponder) as caught:
        await bus.request("qd.gateway.gone.order", b"", timeout_s=30)

    assert caught.value.subject == "qd.gateway.gone.order"


async def test_closed_responder_serves_no_more(bus: Bus) -> None:
    responder = await bus.serve(SUBJECT, echo)

    await responder.close()

    with pytest.raises(NoResponder):
        await bus.request(SUBJECT, b"")


async def test_responder_that_is_slow(bus: Bus) -> None:
    never = asyncio.Event()

    async def slow(_body: bytes, _headers: dict[str, str]) -> bytes:
        await never.wait()
        return b"late"

    responder = await bus.serve(SUBJECT, slow)

    with pytest.raises(RequestTimeout):
        await bus.request(SUBJECT, b"", timeout_s=0.1)

    never.set()
    await responder.close()


@pytest.mark.parametrize(
    ("error", "reason"), [(DecodeError("no order"), "decode_error"), (ZeroDivisionError(), "internal_error")]
)
async def test_error_of_a_responder_reaches_the_asker(bus: Bus, error: Exception, reason: str) -> None:
    async def fail(_body: bytes, _headers: dict[str, str]) -> bytes:
        raise error

    await bus.serve(SUBJECT, fail)

    with pytest.raises(RequestFailed) as caught:
        await bus.request(SUBJECT, b"", timeout_s=30)
    assert caught.value.reason == reason


async def test_one_of_a_queue_group_answers(bus: Bus) -> None:
    served: list[str] = []

    async def serve_as(name: str) -> None:
        async def handler(_body: bytes, _headers: dict[str, str]) -> bytes:
            served.append(name)
            return b""

        await bus.serve(SUBJECT, handler, queue="group")

    await serve_as("first")
    await serve_as("second")
    await bus.request(SUBJECT, b"")

    assert len(served) == 1


async def test_request_over_the_servers_limit(bus: Bus) -> None:
    with pytest.raises(MessageTooLarge):
        await bus.request(SUBJECT, bytes(2_000_000))


async def test_responder_serves_again_after_a_restart(own_bus: Bus, nats_server: NatsServer) -> None:
    await own_bus.serve(SUBJECT, echo)

    await nats_server.kill()
    await nats_server.start()

    assert await own_bus.request(SUBJECT, b"order", timeout_s=10) == b"order"


async def test_request_without_server_ends_as_unavailable(own_bus: Bus, nats_server: NatsServer) -> None:
    await nats_server.kill()

    with pytest.raises(Unavailable):
        await own_bus.request(SUBJECT, b"", timeout_s=0.3)
