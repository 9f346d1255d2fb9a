"""Command state in Redis: one script per transition, with its event in the same act. The only importer of `redis`."""

from quarterdeck.core.store.births import deliver_by
from quarterdeck.core.store.scripts import Lifetimes
from quarterdeck.core.store.sessions import Enqueued, NewRound, SessionView, Standing
from quarterdeck.core.store.shapes import (
    Amendment,
    Child,
    Due,
    HandOver,
    Idempotency,
    LostOutput,
    Move,
    NewBatch,
    NewCommand,
    OutboxEntry,
    Outcome,
    RawEntry,
    Verdict,
    Written,
)
from quarterdeck.core.store.store import Store, StoreSettings
from quarterdeck.core.store.views import BatchView, CommandView, Cursor, Page, StreamView

__all__ = [
    "Amendment",
    "BatchView",
    "Child",
    "CommandView",
    "Cursor",
    "Due",
    "Enqueued",
    "HandOver",
    "Idempotency",
    "Lifetimes",
    "LostOutput",
    "Move",
    "NewBatch",
    "NewCommand",
    "NewRound",
    "OutboxEntry",
    "Outcome",
    "Page",
    "RawEntry",
    "SessionView",
    "Standing",
    "Store",
    "StoreSettings",
    "StreamView",
    "Verdict",
    "Written",
    "deliver_by",
]
