"""What the broadcaster's tests share: starting one, creating what is watched, reading streams."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from quarterdeck.broadcaster.service import BroadcasterService
from quarterdeck.broadcaster.settings import BroadcasterSettings
from quarterdeck.contracts.commands import CommandSpec
from quarterdeck.contracts.ids import new_id
from quarterdeck.core.store import CommandView, NewBatch, NewCommand
from tests.integration.api.deck import TENANT, TOKEN, Deck, context_of, running

SPEC = CommandSpec(command_type="shell", payload=b'{"command":"true"}')


@dataclass(frozen=True)
class Frame:
    """One SSE event, or one NDJSON line."""

    id: str
    event: str
    data: Any
    raw: str

    @property
    def bytes(self) -> bytes:
        """Of an output frame."""
        if "text" in self.data:
            return str(self.data["text"]).encode()
        return base64.b64decode(self.data["data"])


class Stream:
    """Frames of one open response, one after the other."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments: list[str] = []
        self.retry: str | None = None

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the stream."""
        members: dict[str, str] = {}
        raw: list[str] = []
        async for line in self._lines:
            raw.append(line)
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                members[name] = value
            elif "data" in members:
                return Frame(
                    members.get("id", ""),
                    members["event"],
                    msgspec.json.decode(members["data"]),
                    "\n".join(raw),
                )
            elif "retry" in members:
                self.retry = members.pop("retry")
                raw.clear()
        return None

    async def until(self, event: str) -> list[Frame]:
        """Frames up to and with the first `event`."""
        frames: list[Frame] = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
            if frame.event == event:
                return frames
        raise AssertionError(f"the stream ended without {event}: {[frame.event for frame in frames]}")

    async def rest(self) -> list[Frame]:
        frames: list[Frame] = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames


@asynccontextmanager
async def watching(
    deck: Deck, path: str, *, last_event_id: str | None = None, **params: Any
) -> AsyncIterator[Stream]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with deck.http.stream("GET", path, headers=headers, params=params) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)


@asynccontextmanager
async def running_broadcaster(deck: Deck, settings: BroadcasterSettings) -> AsyncIterator[httpx.AsyncClient]:
    assert settings.port_file is not None
    async with running(BroadcasterService(settings), context_of(deck.bus, deck.store, "broadcaster")):
        url = f"http://127.0.0.1:{settings.port_file.read_text().strip()}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, limits=limits) as client:
            yield client


async def new_command(deck: Deck) -> CommandView:
    new = NewCommand(
        command_id=new_id(),
        tenant=TENANT,
        user_id="alice",
        agent_id="a1",
        spec=SPEC,
        created_at_ms=deck.clock.now_ms(),
        event_payload={"agent_id": "a1"},
    )
    written = await deck.store.create_command(new)
    await deck.relay.publish(written.entries)
    return await deck.command(new.command_id)


async def new_batch(deck: Deck, targets: int) -> str:
    names = tuple(f"a{index}" for index in range(targets))
    new = NewBatch(
        batch_id=new_id(),
        tenant=TENANT,
        user_id="alice",
        spec=SPEC,
        targets=names,
        created_at_ms=deck.clock.now_ms(),
        original_request=b"{}",
        event_payloads=({"total": targets, "offset": 0, "targets": list(names)},),
    )
    written = await deck.store.create_batch(new)
    await deck.relay.publish(written.entries)
    return new.batch_id


class RawWatcher:
    """A watcher as a bare socket: a thousand cost little, and one can stop reading for real."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str, path: str) -> "RawWatcher":
        where = httpx.URL(url)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        return cls(reader, writer)

    async def events(self) -> list[str]:
        """Reads to the end; the names of all events."""
        await self.reader.readuntil(b"\r\n\r\n")
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size + 2)
            body = body[:-2]
        self.writer.close()
        return [
            line.removeprefix("event: ") for line in body.decode().splitlines() if line.startswith("event: ")
        ]
