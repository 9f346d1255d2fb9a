"""Submits commands and batches, and waits until their end is seen on the event stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.benchmarks.client.completions import Completions
from tests.benchmarks.client.http import Endpoint, HttpPool, UnexpectedStatus


class _Submitted(msgspec.Struct):
    command_id: str


_decode = msgspec.json.Decoder(_Submitted).decode


class BatchTimes(msgspec.Struct, frozen=True):
    """Milliseconds from the POST's first byte."""

    answered_ms: float
    ended_ms: float


class Submitter:
    """Made by `open_submitter`."""

    def __init__(self, pool: HttpPool, completions: Completions) -> None:
        self.pool = pool
        self._completions = completions
        self._head = pool.endpoint.head("POST", "/api/command", "Content-Type: application/json")

    async def run_command(self, body: bytes) -> float:
        """POST → end seen, in ms. Raises UnexpectedStatus, UnexpectedEnd."""
        began_s = time.perf_counter()
        response = await self.pool.send(self._head, body)
        if response.status != 202:
            raise UnexpectedStatus("/api/command", response)
        seen_s = await self._completions.seen_s(_decode(response.body).command_id)
        return (seen_s - began_s) * 1000

    async def run_batch(self, targets: Sequence[str], command_type: str, payload: Any = None) -> BatchTimes:
        """Raises UnexpectedStatus, UnexpectedEnd."""
        began_s = time.perf_counter()
        batch_id = await self.submit_batch(targets, command_type, payload)
        answered_s = time.perf_counter()
        seen_s = await self._completions.seen_s(batch_id)
        return BatchTimes((answered_s - began_s) * 1000, (seen_s - began_s) * 1000)

    async def submit_batch(self, targets: Sequence[str], command_type: str, payload: Any = None) -> str:
        """The batch id."""
        body = {"target_vps_ids": targets, "command_type": command_type, "payload": payload}
        batch_id: str = (await self.pool.post("/api/batch_commands", body))["batch_command_id"]
        return batch_id

    async def end_of(self, subject_id: str, timeout_s: float = 60.0) -> float:
        """When (time.perf_counter) it ended."""
        return await self._completions.seen_s(subject_id, timeout_s)


@asynccontextmanager
async def open_submitter(endpoint: Endpoint, *, in_flight: int) -> AsyncIterator[Submitter]:
    completions = await Completions.open(endpoint)
    pool = await HttpPool.open(endpoint, in_flight)
    try:
        yield Submitter(pool, completions)
    finally:
        pool.close()
        completions.close()
        await asyncio.sleep(0)  # the loop closes the sockets


def command_body(
    agent_id: str, command_type: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> bytes:
    """Of POST /api/command. `options`: further members."""
    members = {"client_id": agent_id, "command_type": command_type, "payload": payload or {}, "timeout": 60}
    return msgspec.json.encode({**members, **options})
