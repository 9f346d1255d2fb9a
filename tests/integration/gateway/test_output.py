"""Output on its way to the feed: contiguous, fenced, acknowledged when stored, and complete before the result."""

import asyncio
import hashlib

from quarterdeck.contracts import reports, subjects
from quarterdeck.contracts.output import AGENT_HEADER, OFFSET_HEADER, TIME_HEADER
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.bus import Outgoing, StoredMessage
from quarterdeck.wire.agent_v1 import agent_pb2 as pb
from tests.integration.gateway.conftest import Build, House
from tests.integration.gateway.peer import Peer


async def ordered(house: House, agent_id: str = "a1", command_id: str = "c1") -> tuple[Peer, pb.Order]:
    """An agent that has just got an order."""
    peer = await house.agent(agent_id)
    await house.order((peer, command_id), batch_id="b1")
    return peer, (await peer.hear("order")).order


async def stored(house: House, stream: str = "stdout", command_id: str = "c1") -> list[StoredMessage]:
    subject = subjects.output("acme", "b1", command_id, 1, stream)
    return [m async for messages in house.bus.read(FEED, [subject], follow=False) for m in messages]


async def acknowledged(peer: Peer, offset: int) -> None:
    """Wait until the gateway says that everything below `offset` is stored."""
    while (await peer.hear("output_ack")).output_ack.offset < offset:
        pass


def end_of(content: bytes) -> pb.StreamEnd:
    return pb.StreamEnd(length=len(content), sha256=hashlib.sha256(content).digest())


async def finished(house: House) -> reports.Result:
    found = await house.reports(lambda found: any(isinstance(report, reports.Result) for report in found))
    return next(report for report in found if isinstance(report, reports.Result))


def resumed(command_id: str = "c1") -> pb.Hello:
    """The Hello of an agent that came back while a command runs."""
    return pb.Hello(
        journal=[pb.JournalEntry(command_id=command_id, attempt=1, phase=pb.RUNNING, batch_id="b1")]
    )


async def test_output_is_stored_contiguously_and_acknowledged(house: House) -> None:
    """S0-10, S4-17, S4-19"""
    peer, order = await ordered(house)

    await peer.say(peer.output(order, 0, b"hello "))
    await acknowledged(peer, 6)
    await peer.say(peer.output(order, 6, b"world"))
    await acknowledged(peer, 11)

    messages = await stored(house)
    assert [(m.headers[OFFSET_HEADER], m.body) for m in messages] == [("0", b"hello "), ("6", b"world")]
    assert messages[0].headers[AGENT_HEADER] == "a1"
    assert messages[0].headers[TIME_HEADER] == "2"


async def test_streams_do_not_mix(house: House) -> None:
    peer, order = await ordered(house)

    await peer.say(peer.output(order, 0, b"out"), peer.output(order, 0, b"error", pb.STDERR))
    await acknowledged(peer, 3)
    await acknowledged(peer, 5)

    assert [m.body for m in await stored(house, "stdout")] == [b"out"]
    assert [m.body for m in await stored(house, "stderr")] == [b"error"]


async def test_chunks_of_one_frame_share_a_stored_message(house: House) -> None:
    peer, order = await ordered(house)
    chunks = [bytes([number]) * 60_000 for number in range(4)]

    await peer.say(*(peer.output(order, 60_000 * number, chunk) for number, chunk in enumerate(chunks)))
    await acknowledged(peer, 240_000)

    messages = await stored(house)
    assert len(messages) == 1
    assert messages[0].body == b"".join(chunks)


async def test_result_comes_after_all_its_output_and_carries_both_digests(house: House) -> None:
    """S1-8, S4-35: the result is published only after the bus stored the output."""
    peer, order = await ordered(house)
    content = b"".join(number.to_bytes(4) * 8_000 for number in range(40))
    pieces = [content[at : at + 64_000] for at in range(0, len(content), 64_000)]

    await peer.say(
        *(peer.output(order, 64_000 * number, piece) for number, piece in enumerate(pieces)),
        peer.result(order, end_of(content)),
    )
    result = await finished(house)

    assert b"".join(m.body for m in await stored(house)) == content
    assert result.stdout.length == len(content)
    assert result.stdout.stored_sha256 == result.stdout.sha256 == hashlib.sha256(content).digest()
    assert result.stdout.tail == content[-4096:]
    assert result.stderr.stored_sha256 == hashlib.sha256().digest()


async def test_result_waiting_for_output_holds_back_no_other_report(house: House) -> None:
    peer, order = await ordered(house)
    await house.order((peer, "c2"))
    other = (await peer.hear("order")).order

    await peer.say(peer.result(order, end_of(b"never sent")), peer.result(other))

    result = await finished(house)
    assert result.command_id == "c2"


async def test_missing_output_is_asked_for_before_the_result_goes_on(house: House) -> None:
    peer, order = await ordered(house)
    await peer.say(peer.output(order, 0, b"abc"), peer.result(order, end_of(b"abcdef")))

    ask = await _resend(peer)
    assert ask.offset in {0, 3}
    await peer.say(peer.output(order, 3, b"def"))

    assert (await finished(house)).stdout.stored_sha256 == hashlib.sha256(b"abcdef").digest()


async def _resend(peer: Peer) -> pb.OutputAck:
    while not (ack := (await peer.hear("output_ack")).output_ack).resend:
        pass
    return ack


async def test_gap_is_not_stored_but_asked_for(house: House) -> None:
    peer, order = await ordered(house)
    await peer.say(peer.output(order, 0, b"abc"))
    await acknowledged(peer, 3)

    await peer.say(peer.output(order, 6, b"ghi"))
    ask = await _resend(peer)
    assert ask.offset == 3
    await peer.say(peer.output(order, 3, b"defghi"))
    await acknowledged(peer, 9)

    assert b"".join(m.body for m in await stored(house)) == b"abcdefghi"


async def test_agent_that_cannot_fill_a_gap_goes_on_without_a_digest(house: House) -> None:
    """The bus lost what it had confirmed: the end must show it, and the command must not hang."""
    peer, order = await ordered(house)
    await peer.say(peer.output(order, 0, b"abc"))
    await acknowledged(peer, 3)
    await peer.say(peer.output(order, 6, b"ghi"))
    await _resend(peer)

    await peer.say(peer.output(order, 6, b"ghi"), peer.result(order, end_of(b"abcdefghi")))

    result = await finished(house)
    assert result.stdout.stored_sha256 == b""
    assert [m.headers[OFFSET_HEADER] for m in await stored(house)] == ["0", "6"]


async def test_repeated_output_is_stored_once(house: House) -> None:
    peer, order = await ordered(house)
    await peer.say(peer.output(order, 0, b"abcdef"))
    await acknowledged(peer, 6)

    await peer.say(peer.output(order, 0, b"abcdef"), peer.output(order, 3, b"defghi"))
    await acknowledged(peer, 9)

    assert b"".join(m.body for m in await stored(house)) == b"abcdefghi"


async def test_another_gateway_goes_on_where_the_first_stopped(build: Build) -> None:
    """S1-27, S0-37: the subject itself tells offset and sequence; the new gateway never saw the order."""
    one, two = await build(), await build()
    peer, order = await ordered(one)
    await peer.say(peer.output(order, 0, b"abc"), peer.output(order, 3, b"def"))
    await acknowledged(peer, 6)

    moved = await two.call("a1", peer.key).open(hello=resumed())
    await moved.say(moved.output(order, 3, b"defghi"), moved.result(order, end_of(b"abcdefghi")))

    result = await finished(two)
    assert b"".join(m.body for m in await stored(two)) == b"abcdefghi"
    assert result.stdout.length == 9
    assert result.stdout.stored_sha256 == b"", "it did not see the stream from its first byte"


async def test_result_alone_is_enough_for_a_gateway_that_saw_no_output(build: Build) -> None:
    """Everything was stored before the agent moved."""
    one, two = await build(), await build()
    peer, order = await ordered(one)
    await peer.say(peer.output(order, 0, b"abc"))
    await acknowledged(peer, 3)

    moved = await two.call("a1", peer.key).open(hello=resumed())
    await moved.say(moved.result(order, end_of(b"abc")))

    assert (await finished(two)).stdout.tail == b"abc"


async def test_writer_that_lost_the_fence_reads_and_goes_on(house: House) -> None:
    """The link of another gateway wrote in between: its bytes are not repeated, ours not lost."""
    peer, order = await ordered(house)
    await peer.say(peer.output(order, 0, b"abc"))
    await acknowledged(peer, 3)
    subject = subjects.output("acme", "b1", "c1", 1, "stdout")
    await house.bus.publish(Outgoing(subject=subject, body=b"def", headers={OFFSET_HEADER: "3"}))

    await peer.say(peer.output(order, 3, b"defghi"))
    await acknowledged(peer, 9)

    assert b"".join(m.body for m in await stored(house)) == b"abcdefghi"


async def test_first_chunk_of_a_stream_that_exists_is_no_second_beginning(house: House) -> None:
    """The agent had heard of no acknowledgement and sends from offset 0."""
    peer, order = await ordered(house)
    subject = subjects.output("acme", "b1", "c1", 1, "stdout")
    await house.bus.publish(Outgoing(subject=subject, body=b"abc", headers={OFFSET_HEADER: "0"}))

    await peer.say(peer.output(order, 0, b"abcdef"))
    await acknowledged(peer, 6)

    assert b"".join(m.body for m in await stored(house)) == b"abcdef"


async def test_trimmed_subject_goes_on_at_the_agents_offset(house: House) -> None:
    peer = await house.agent("a1")
    again = await house.call("a1", peer.key).open(hello=resumed())
    order = pb.Order(command_id="c1", attempt=1)

    await again.say(again.output(order, 1000, b"abc"))
    await acknowledged(again, 1003)

    assert [m.headers[OFFSET_HEADER] for m in await stored(house)] == ["1000"]


async def test_output_of_a_command_that_the_link_does_not_carry_closes_it(house: House) -> None:
    """It would end in a subject of somebody else's command."""
    peer = await house.agent("a1")

    await peer.say(peer.output(pb.Order(command_id="foreign", attempt=1), 0, b"x"))

    assert await peer.hear_end() == "protocol"


async def test_agent_that_ignores_its_window_is_closed(build: Build) -> None:
    house = await build(window_bytes=64 * 1024)
    peer, order = await ordered(house)
    chunk = b"x" * 65_536

    await peer.say(*(peer.output(order, 65_536 * number, chunk) for number in range(8)))

    assert await peer.hear_end() == "overflow"


async def test_windows_shrink_when_many_links_stream(build: Build) -> None:
    house = await build(window_bytes=1024 * 1024, output_budget_bytes=1024 * 1024)
    one, order_one = await ordered(house, "a1", "c1")
    two, order_two = await ordered(house, "a2", "c2")
    await one.say(one.output(order_one, 0, b"x"))
    await acknowledged(one, 1)

    await two.say(two.output(order_two, 0, b"x"))

    assert (await one.hear("credit")).credit.window_bytes == 512 * 1024


async def test_progress_is_told_while_a_command_prints(build: Build) -> None:
    """S4-34, S4-35: length and tail, coalesced."""
    house = await build(progress_interval_ms=1)
    peer, order = await ordered(house)

    await peer.say(peer.output(order, 0, b"hello"))

    (progress,) = await house.reports(lambda found: len(found) >= 1)
    assert isinstance(progress, reports.Progress)
    assert progress.stdout == reports.StreamReport(length=5, tail=b"hello")
    assert progress.stderr is None


async def test_many_streams_at_once_keep_their_bytes_apart(house: House) -> None:
    """S0-31"""
    peers = [await ordered(house, f"a{number}", f"c{number}") for number in range(10)]
    contents = [bytes([number]) * 300_000 for number in range(10)]

    async def stream(peer: Peer, order: pb.Order, content: bytes) -> None:
        for at in range(0, len(content), 50_000):
            await peer.say(peer.output(order, at, content[at : at + 50_000]))
        await peer.say(peer.result(order, end_of(content)))

    await asyncio.gather(*(stream(*peer, content) for peer, content in zip(peers, contents, strict=True)))

    found = await house.reports(
        lambda found: len([r for r in found if isinstance(r, reports.Result)]) >= len(peers)
    )
    results = {report.command_id: report for report in found if isinstance(report, reports.Result)}
    for number, content in enumerate(contents):
        result = results[f"c{number}"]
        assert result.stdout.stored_sha256 == hashlib.sha256(content).digest()
