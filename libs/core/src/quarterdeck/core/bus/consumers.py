"""How a durable consumer is declared: where it reads, how much at once, and what acks mean.

Values only. Each service declares its own shapes beside its handlers; consume.py acts on them.
"""

from enum import StrEnum

import msgspec


class AckPolicy(StrEnum):
    """When a message counts as done. In every policy an undecodable message is dead-lettered and terminated.

    Raising `Retry` naks with back-off; raising `Unavailable` (a broker is away) keeps the messages in hand, marked as
    in progress, and calls the handler again, so an outage never uses up deliveries.
    """

    AFTER_HANDLER = "after_handler"
    """Acked when the handler returned, which is after its state is written. A handler that fails unexpectedly gets its
    messages again one by one, so that a bad one is found out; the bad one is delivered again with back-off and
    dead-lettered at `max_deliver`. At least once: handlers are idempotent."""
    ONCE_FAILED_DEAD = "once_failed_dead"
    """As AFTER_HANDLER, but an unexpected failure is final: dead-lettered at once. For what must not be tried again."""
    BEFORE_HANDLER = "before_handler"
    """Acked on arrival; a failure loses the messages. At most once: for signals that the next one replaces."""


class ConsumerShape(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer, shared by all replicas of a service."""

    stream: str
    durable: str
    filter: str
    """Subject filter. On a work-queue stream, filters of different consumers must not overlap."""
    ack_wait_s: float = 6.0
    """How long the server waits before it gives unacked messages to somebody else: how long work stands still when a
    replica dies. Handlers that take longer are kept alive by in-progress acks; only a dead process lets it run out."""
    max_deliver: int = 20
    """Delivery count beyond which a message goes to the dead letters without being handled: it killed or failed
    whoever had it before."""
    max_batch: int = 500
    """Most messages in one call of the handler."""
    max_batch_bytes: int = 8 * 1024 * 1024
    """Most bytes that one pull may bring. Bounds memory: at most two pulls are in hand."""
    policy: AckPolicy = AckPolicy.AFTER_HANDLER
