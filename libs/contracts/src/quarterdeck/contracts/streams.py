"""JetStream streams and key-value buckets: names, subjects, retention. core/bus creates them from here."""

from enum import StrEnum
from typing import Final

import msgspec

from quarterdeck.contracts import subjects

COMMANDS: Final = "QD_COMMANDS"
REPORTS: Final = "QD_REPORTS"
FEED: Final = "QD_FEED"
STATE: Final = "QD_STATE"
AUDIT: Final = "QD_AUDIT"
DEAD: Final = "QD_DEAD"

LINKS: Final = "QD_LINKS"
GATEWAYS: Final = "QD_GATEWAYS"
AGENTS: Final = "QD_AGENTS"
TOKENS: Final = "QD_TOKENS"
POLICIES: Final = "QD_POLICIES"

_DAY_S: Final = 24 * 3600
_GIB: Final = 1024**3


class Retention(StrEnum):
    WORK_QUEUE = "workqueue"
    LIMITS = "limits"


class StreamShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is, apart from replicas and storage, which the deployment chooses."""

    name: str
    subjects: tuple[str, ...] = ()
    retention: Retention = Retention.LIMITS
    max_age_s: int = 0
    max_bytes: int = -1
    duplicate_window_s: int = 120
    sources: tuple[tuple[str, str], ...] = ()
    """(stream, filter subject) pairs that are copied in."""
    deny_purge: bool = False
    description: str = ""


STREAMS: Final[tuple[StreamShape, ...]] = (
    StreamShape(
        name=COMMANDS,
        subjects=(subjects.ALL_COMMANDS,),
        retention=Retention.WORK_QUEUE,
        description="orders on their way to the dispatcher, one filtered consumer per lane",
    ),
    StreamShape(
        name=REPORTS,
        subjects=(subjects.ALL_REPORTS,),
        retention=Retention.WORK_QUEUE,
        description="what agents reported, on its way to the aggregator",
    ),
    StreamShape(
        name=FEED,
        subjects=(subjects.ALL_EVENTS, subjects.ALL_OUTPUT, subjects.ALL_CLAIMS),
        max_age_s=7 * _DAY_S,
        max_bytes=20 * _GIB,
        description="events and output in one sequence: what a watcher sees; and who wrote what to foreign agents",
    ),
    StreamShape(
        name=STATE,
        sources=((FEED, subjects.ALL_EVENTS),),
        max_age_s=30 * _DAY_S,
        max_bytes=10 * _GIB,
        description="events alone, under limits of their own, so that output can never evict state",
    ),
    StreamShape(
        name=AUDIT,
        subjects=(subjects.ALL_AUDIT,),
        deny_purge=True,
        description="who did what, and what was refused",
    ),
    StreamShape(
        name=DEAD,
        subjects=(subjects.ALL_DEAD, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"),
        max_age_s=14 * _DAY_S,
        max_bytes=_GIB,
        description="messages that nobody could decode or finish",
    ),
)


class BucketShape(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    history: int = 1
    description: str = ""


BUCKETS: Final[tuple[BucketShape, ...]] = (
    BucketShape(name=LINKS, description="one record per agent: its link, or when it ended"),
    BucketShape(name=GATEWAYS, description="one lease per gateway"),
    BucketShape(name=AGENTS, description="enrolled agents"),
    BucketShape(name=TOKENS, description="hashes of API and join tokens"),
    BucketShape(name=POLICIES, description="what each tenant may order"),
)
