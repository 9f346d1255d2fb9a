"""Checks that the bus holds what the agent sent, for streams that no single gateway saw from the start to the end."""

import hashlib
from typing import Final, NamedTuple

import structlog

from quarterdeck.aggregator.handlers import Story, Verified, digest_matches
from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.output import OFFSET_HEADER
from quarterdeck.contracts.reports import StreamReport
from quarterdeck.core.bus import Bus
from quarterdeck.core.store import LostOutput, Store

log = structlog.get_logger()

ALL_WELL = Verified(stdout=True, stderr=True)

_BATCH: Final = 16
"""Chunks read at once: 4 MiB at most, whatever the length of the stream."""


class _Replayed(NamedTuple):
    digest: bytes
    length: int
    missing: tuple[tuple[int, int], ...]
    """(first byte, byte behind the last), in order."""


class Digests:
    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    async def verify(self, tenant: str, story: Story) -> Verified:
        """Replays a stream's subject where the gateway's own digest is missing. Raises Unavailable."""
        result = story.result
        if result is None:
            return ALL_WELL
        stdout, lost_stdout = await self._holds(tenant, story, "stdout", result.stdout)
        stderr, lost_stderr = await self._holds(tenant, story, "stderr", result.stderr)
        if not (stdout and stderr):
            log.error("aggregator.digest_mismatched", command_id=story.command_id, attempt=story.attempt)
        return Verified(stdout=stdout, stderr=stderr, lost=(*lost_stdout, *lost_stderr))

    async def _holds(
        self, tenant: str, story: Story, name: str, stream: StreamReport
    ) -> tuple[bool, tuple[LostOutput, ...]]:
        """Whether the stream is whole, and what is missing of it."""
        known = digest_matches(stream)
        if known is not None:
            return known, ()
        view = await self._store.command(tenant, story.command_id)
        if view is None:
            return False, ()
        subject = subjects.output(tenant, view.batch_id, story.command_id, story.attempt, name)
        replayed = await self._replay(subject, stream.length)
        if replayed.missing:
            log.warning("aggregator.output_lost", subject=subject, parts=replayed.missing)
            return False, (LostOutput(story.command_id, story.attempt, name, replayed.missing),)
        return replayed.length == stream.length and replayed.digest == stream.sha256, ()

    async def _replay(self, subject: str, length: int) -> _Replayed:
        """`length`: what the agent sent."""
        digest, end, missing = hashlib.sha256(), 0, []
        async for messages in self._bus.read(streams.FEED, [subject], follow=False, batch=_BATCH):
            for message in messages:
                offset = int(message.headers[OFFSET_HEADER])
                if offset > end:
                    missing.append((end, offset))
                digest.update(message.body)
                end = offset + len(message.body)
        if end < length:
            missing.append((end, length))
        return _Replayed(digest.digest(), end, tuple(missing))
