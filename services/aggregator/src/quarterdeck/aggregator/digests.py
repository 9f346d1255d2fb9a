"""Checks that the bus holds what the agent sent, for streams that no single gateway saw from the start to the end."""

import hashlib

import structlog

from quarterdeck.aggregator.handlers import Story, Verified, digest_matches
from quarterdeck.contracts import streams, subjects
from quarterdeck.contracts.reports import StreamReport
from quarterdeck.core.bus import Bus
from quarterdeck.core.store import Store

log = structlog.get_logger()

ALL_WELL = Verified(stdout=True, stderr=True)


class Digests:
    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store

    async def verify(self, tenant: str, story: Story) -> Verified:
        """Replays a stream's subject where the gateway's own digest is missing. Raises Unavailable."""
        result = story.result
        if result is None:
            return ALL_WELL
        verified = Verified(
            stdout=await self._holds(tenant, story, "stdout", result.stdout),
            stderr=await self._holds(tenant, story, "stderr", result.stderr),
        )
        if not (verified.stdout and verified.stderr):
            log.error("aggregator.digest_mismatched", command_id=story.command_id, attempt=story.attempt)
        return verified

    async def _holds(self, tenant: str, story: Story, name: str, stream: StreamReport) -> bool:
        known = digest_matches(stream)
        if known is not None:
            return known
        view = await self._store.command(tenant, story.command_id)
        if view is None:
            return False
        subject = subjects.output(tenant, view.batch_id, story.command_id, story.attempt, name)
        digest, length = hashlib.sha256(), 0
        async for messages in self._bus.read(streams.FEED, [subject], follow=False):
            for message in messages:
                digest.update(message.body)
                length += len(message.body)
        return length == stream.length and digest.digest() == stream.sha256
