"""Output under pressure: bounded memory, windows, resuming, coalescing."""

import asyncio
import hashlib
import os
import resource
import time
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.agent.executor.service import Executor
from quarterdeck.agent.executor.streams import RETAINED_BYTES, OutputBuffer
from quarterdeck.agent.settings import ExecutorSettings
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.unit.agent.conversation import Conversation

MIB = 1024 * 1024


async def test_hundred_megabytes_without_a_newline_in_bounded_memory(link: Conversation) -> None:
    """S4-35: no line buffer, no growth; length and digest prove that nothing is missing."""
    link.keep_content = False
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    key = await link.shell("head -c 100000000 /dev/zero | tr '\\0' x")

    result = await link.result(key, timeout_s=60)

    assert (result.end, result.stdout.length) == (pb.SUCCEEDED, 100_000_000)
    assert link.output[*key, pb.STDOUT].digest.digest() == result.stdout.sha256
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 20 * MIB


async def test_unacknowledged_output_stops_at_the_streams_limit_and_the_child_blocks(
    link: Conversation, tmp_path: Path
) -> None:
    """S4-35 I9: nobody takes it, so the child waits in its write."""
    link.ack_output = False
    done = tmp_path / "done"
    key = await link.shell(f"head -c 3000000 /dev/zero; touch {done}")
    await link.until_window_is_full(key)
    await asyncio.sleep(0.1)

    assert len(link.stdout(key)) <= RETAINED_BYTES + 64 * 1024
    assert not done.exists()

    link.ack_output = True
    await link.acknowledge_output(key, len(link.stdout(key)))
    assert (await link.result(key)).stdout.length == 3_000_000


async def test_window_of_the_link_bounds_what_all_streams_have_in_flight(link: Conversation) -> None:
    link.window_bytes = 256 * 1024
    await link.open()
    link.ack_output = False
    keys = [await link.shell("head -c 500000 /dev/zero; head -c 500000 /dev/zero >&2") for _ in range(4)]
    await link.until(lambda: link.received_bytes > link.window_bytes // 2)
    await asyncio.sleep(0.1)

    assert link.received_bytes <= link.window_bytes

    link.ack_output = True
    for (command_id, attempt, stream), received in list(link.output.items()):
        received.acked = received.length
        await link.acknowledge_output((command_id, attempt), received.length, stream)
    for key in keys:
        await link.result(key)
    assert link.largest_in_flight_bytes <= 256 * 1024


async def test_credit_changes_the_window(link: Conversation) -> None:
    link.window_bytes = 64 * 1024
    await link.open()
    link.ack_output = False
    key = await link.shell("head -c 900000 /dev/zero")
    await link.until(lambda: len(link.stdout(key)) > 0)
    await asyncio.sleep(0.1)
    assert len(link.stdout(key)) <= 64 * 1024

    await link.say(credit=pb.Credit(window_bytes=MIB))
    await link.until(lambda: len(link.stdout(key)) == 900_000)

    assert (await link.result(key)).end == pb.SUCCEEDED


async def test_output_resumes_at_the_acknowledged_offset_after_a_reconnect(link: Conversation) -> None:
    """S0-37 I4: what the store has is not sent again, what it lacks is; the result still comes last."""
    link.ack_output = link.ack_reports = False
    key = await link.shell("head -c 300000 /dev/urandom")
    await link.until(lambda: len(link.stdout(key)) == 300_000)
    await link.acknowledge_output(key, 100_000)
    await link.cut()
    link.chunks.clear()
    before = link.stdout(key)
    link.output[*key, pb.STDOUT].forget_from(100_000)
    link.reports.clear()

    hello = await link.open()
    result = await link.result(key)

    assert hello.journal[0].stdout_offset == 100_000
    assert link.chunks[0].offset == 100_000
    assert link.stdout(key) == before
    assert hashlib.sha256(before).digest() == result.stdout.sha256


async def test_command_goes_on_while_there_is_no_link(link: Conversation, tmp_path: Path) -> None:
    """S0-36 S0-37: the link is cut before the output comes."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    key = await link.shell(f"read x < {gate}; echo $x; touch {tmp_path}/ended")
    await link.report(key, pb.Started)
    await link.cut()
    gate.write_text("while away\n")
    while not (tmp_path / "ended").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)

    await link.open()

    assert (await link.result(key)).end == pb.SUCCEEDED
    assert link.stdout(key) == b"while away\n"


async def test_gateway_that_lost_output_gets_it_again(link: Conversation) -> None:
    """I4: OutputAck with resend rewinds to its offset."""
    link.ack_output = False
    key = await link.shell("printf 0123456789; sleep 100")
    await link.until(lambda: len(link.stdout(key)) == 10)
    link.chunks.clear()

    await link.acknowledge_output(key, 4, resend=True)
    await link.until(lambda: bool(link.chunks))

    assert link.chunks[0].offset == 4
    await link.terminate(key, grace_ms=0)
    assert (await link.result(key)).stdout.length == 10


async def test_result_does_not_wait_for_output_that_the_store_turns_out_to_have(
    settings: ExecutorSettings,
) -> None:
    """I4: the acknowledgement of a link's output may come on the next one, before it is sent again."""
    executor = Executor(msgspec.structs.replace(settings, repeat_reports_s=3600))
    await executor.start()
    link = Conversation(executor)
    await link.open()
    link.ack_output = link.ack_reports = False
    key = await link.shell("echo hello")
    await link.result(key)
    link.reports.clear()

    await link.cut()
    await link.say(challenge=pb.Challenge(nonce=bytes(32)))
    await executor.receive()
    await link.say(welcome=link.welcome())
    await link.acknowledge_output(key, 6)
    link.listen()
    result = await link.result(key, timeout_s=10)

    assert result.stdout.length == 6
    await link.cut()
    await executor.stop(grace_s=0.2)


async def test_reports_overtake_output_that_waits_for_the_window(link: Conversation) -> None:
    """A stalled stream delays no other command (I9)."""
    link.window_bytes = 64 * 1024
    await link.open()
    link.ack_output = False
    stalled = await link.shell("head -c 500000 /dev/zero")
    await link.until(lambda: len(link.stdout(stalled)) > 0)

    result = await link.run("exit 3")

    assert result.exit_code == 3
    assert link.of(stalled, pb.Result) == []


async def test_many_small_writes_share_chunks(link: Conversation) -> None:
    """First bytes at once, then coalesced over at most 20 ms."""
    key = await link.order(
        "exec",
        {"argv": ["python3", "-c", "import os\nfor n in range(3000): os.write(1, b'%d\\n' % n)"]},
    )

    result = await link.result(key)

    assert result.stdout.length == len(link.stdout(key))
    assert len(link.chunks) < 300


async def test_first_bytes_do_not_wait_for_company(link: Conversation) -> None:
    """S4-17: the delay between a line and its arrival is far below the coalescing time plus a blink."""
    key = await link.shell(
        "while read line; do echo $line; done < /dev/zero & sleep 0.2; date +%s%N; kill $!; wait"
    )
    await link.until(lambda: link.stdout(key).endswith(b"\n"))
    arrived_ns = time.time_ns()

    await link.result(key)

    assert arrived_ns - int(link.stdout(key)) < 1_000_000_000


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=3000), max_size=30),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "ack", "rewind"]), st.integers(0, 40_000)), max_size=60
    ),
)
def test_buffer_gives_every_byte_in_order_whatever_happens(
    pieces: list[bytes], steps: list[tuple[str, int]]
) -> None:
    """I4, as a model: what was taken is always the right part of the whole."""
    buffer, whole = OutputBuffer(pb.STDOUT), b""
    feed = iter(pieces)
    for action, number in steps:
        if (piece := next(feed, None)) is not None:
            buffer.append(piece, 1)
            whole += piece
        if action == "take":
            chunk = buffer.take(number)
            assert chunk.content == whole[chunk.offset : chunk.offset + len(chunk.content)]
        elif action == "ack":
            buffer.acknowledge(number)
        else:
            buffer.rewind()
        assert buffer.acked <= buffer.sent <= buffer.length == len(whole)

    buffer.rewind()
    assert buffer.take(len(whole) + 1).content == whole[buffer.acked :]
    assert buffer.stream_end().sha256 == hashlib.sha256(whole).digest()
