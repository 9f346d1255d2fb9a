"""Downloading a command's log: bytes, ranges, NDJSON, and what was trimmed."""

import base64
import hashlib
import random
from typing import Any

import msgspec

from quarterdeck.contracts import subjects
from quarterdeck.contracts.states import CommandState as S
from quarterdeck.contracts.streams import FEED
from quarterdeck.core.store import CommandView
from tests.integration.api.deck import Deck

ASK: dict[str, Any] = {"client_id": "a1", "command_type": "shell", "payload": {"command": "x"}, "timeout": 30}
LOG = random.Random(1).randbytes(1_000_000)


async def command(deck: Deck, **changes: Any) -> CommandView:
    await deck.agent("a1")
    answer = await deck.http.post("/api/command", json={**ASK, **changes})
    return await deck.command(answer.json()["command_id"])


async def stored(deck: Deck, view: CommandView, log: bytes = LOG, stream: str = "stdout") -> None:
    """`log` in pieces of uneven sizes."""
    sizes = random.Random(2)
    offset = 0
    while offset < len(log):
        size = sizes.choice([1, 100, 65_536, 262_144])
        offset = await deck.output(view, log[offset : offset + size], offset, stream=stream)


async def trimmed(deck: Deck, view: CommandView, *, keep: int) -> None:
    """As the feed's limits do it: only the `keep` newest chunks of stdout are left."""
    subject = subjects.output(view.tenant, view.batch_id, view.command_id, 1, "stdout")
    limit = {"keep": keep} if keep else {}
    await deck.bus.api.call(f"STREAM.PURGE.{FEED}", {"filter": subject, **limit})


async def test_the_whole_log_comes_byte_for_byte(deck: Deck) -> None:
    """S4-23, S4-35"""
    view = await command(deck)
    await stored(deck, view)
    await stored(deck, view, b"complaints\n", "stderr")
    path = f"/api/command/{view.command_id}/output"
    answer = await deck.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(LOG).digest()
    assert (await deck.http.get(path, params={"stream": "stderr"})).content == b"complaints\n"
    assert (await deck.http.get(path, params={"offset": 999_990})).content == LOG[999_990:]
    assert (await deck.http.get(path, params={"offset": 5_000_000})).content == b""
    answer = await deck.http.get(path, params={"stream": "stdin"})
    assert (answer.status_code, answer.json()["field"]) == (422, "stream")


async def test_a_command_without_output_has_an_empty_log(deck: Deck) -> None:
    """S4-23"""
    view = await command(deck)
    answer = await deck.http.get(f"/api/command/{view.command_id}/output")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_truncated_log_says_how_much_is_missing(deck: Deck) -> None:
    """I4: in the answer's header, and wherever the command or its batch is shown."""
    view = await command(deck, max_output_bytes=10)
    await stored(deck, view, b"0123456789")
    await deck.move(view.command_id, S.SENT)
    await deck.move(view.command_id, S.SUCCEEDED, stdout_bytes=10, stdout_sha256="00", stdout_truncated=2**33)
    path = f"/api/command/{view.command_id}"
    assert (await deck.command(view.command_id)).spec.max_output_bytes == 10
    assert (await deck.http.get(f"{path}/output")).headers["qd-truncated-bytes"] == str(2**33)
    assert "qd-truncated-bytes" not in (await deck.http.get(f"{path}/output?stream=stderr")).headers
    assert (await deck.http.get(path)).json()["command"]["stdout"]["truncated_bytes"] == 2**33


async def test_ranges_answer_exactly_the_bytes_asked_for(deck: Deck) -> None:
    """S4-23"""
    view = await command(deck)
    await stored(deck, view)
    path = f"/api/command/{view.command_id}/output"
    for wanted, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=65530-65545", 65_530, 65_546),
        ("bytes=999999-", 999_999, 1_000_000),
        ("bytes=-10", 999_990, 1_000_000),
        ("bytes=900000-5000000", 900_000, 1_000_000),
    ):
        answer = await deck.http.get(path, headers={"Range": wanted})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1000000"
        assert answer.content == LOG[start:stop]
    beyond = await deck.http.get(path, headers={"Range": "bytes=1000000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */1000000")
    for ignored in ("bytes=5-1,7-9", "lines=1-2", "bytes=-"):
        answer = await deck.http.get(path, headers={"Range": ignored})
        assert (answer.status_code, len(answer.content)) == (200, 1_000_000)


async def test_ndjson_tells_every_chunk_of_both_streams_in_order(deck: Deck) -> None:
    """S4-17"""
    view = await command(deck)
    await deck.output(view, b"one\n", 0)
    await deck.output(view, b"\xff", 0, stream="stderr")
    await deck.output(view, b"two\n", 4)
    path = f"/api/command/{view.command_id}/output"
    accept = {"Accept": "application/x-ndjson"}

    async def lines(**params: Any) -> list[Any]:
        answer = await deck.http.get(path, headers=accept, params=params)
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [msgspec.json.decode(line) for line in answer.text.splitlines()]

    every = await lines()
    assert [(line["stream"], line["offset"], base64.b64decode(line["data"])) for line in every] == [
        ("stdout", 0, b"one\n"),
        ("stderr", 0, b"\xff"),
        ("stdout", 4, b"two\n"),
    ]
    assert all(line["at_ms"] > 0 for line in every)
    texts = await lines(text=1)
    assert [line.get("text") for line in texts] == ["one\n", None, "two\n"]
    assert [line["offset"] for line in await lines(stream="stdout", offset=4)] == [4]


async def test_each_attempt_has_a_log_of_its_own(deck: Deck) -> None:
    """S4-37"""
    view = await command(deck, retry={"max_attempts": 2, "backoff_ms": 0})
    await deck.output(view, b"first try\n", 0)
    await deck.move(view.command_id, S.SENT)
    await deck.move(view.command_id, S.FAILED, exit_code=1)
    await deck.output(view, b"second try\n", 0, attempt=2)
    path = f"/api/command/{view.command_id}/output"
    assert (await deck.http.get(path)).content == b"second try\n"
    assert (await deck.http.get(path, params={"attempt": 1})).content == b"first try\n"


async def test_a_log_that_was_trimmed_says_where_it_begins(deck: Deck) -> None:
    """S4-35"""
    view = await command(deck)
    offset = 0
    for index in range(10):
        offset = await deck.output(view, b"%09d\n" % index, offset)
    facts = await deck.bus.stream_info(FEED)
    await deck.bus.api.call(f"STREAM.PURGE.{FEED}", {"seq": facts.last_sequence - 4})
    path = f"/api/command/{view.command_id}/output"
    answer = await deck.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (410, "output_trimmed")
    assert answer.json()["first_offset"] == 50
    assert (await deck.http.get(path, params={"offset": 50})).text.startswith("000000005\n")
