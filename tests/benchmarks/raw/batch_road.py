"""Raw limit of a batch: every hop that its commands pass, one after the other, without product logic.

The product overlaps hops, so it may come near the sum, or below it; where the sum is large, the hop is what costs.
"""

from typing import Final

import msgspec

from tests.benchmarks.measurement import median
from tests.benchmarks.raw import grpc_stream, http_echo, publish, redis_scripts

_TARGETS_PER_MESSAGE: Final = 500
_REPORTS_PER_MESSAGE: Final = 256
_ORDER_BYTES: Final = 120
_REPORT_BYTES: Final = 3 * 110
"""Accepted, started and result of one command."""
_EVENT_BYTES: Final = 700
_MAX_STREAMS: Final = 1000


class Hops(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of each hop."""

    post: float
    commands: float
    """Into JetStream, packed."""
    sent: float
    """A script per child."""
    links: float
    """To the agents and back over gRPC."""
    reports: float
    """Into JetStream, packed."""
    completed: float
    """A script per child."""
    events: float
    """Into JetStream, sent and completed of each child."""

    @property
    def sum_ms(self) -> float:
        return float(sum(msgspec.structs.astuple(self)))


async def measure_hops(nats_url: str, redis_url: str, *, children: int) -> Hops:
    body = msgspec.json.encode(
        {"client_id": "x", "command_type": "noop", "payload": [f"sim-{n}" for n in range(children)]}
    )
    return Hops(
        post=median(await http_echo.post_round_trip_ms(body, count=20)),
        commands=1000
        * await publish.burst_s(nats_url, _packed(children, _TARGETS_PER_MESSAGE, _ORDER_BYTES)),
        sent=1000 * await redis_scripts.pipeline_s(redis_url, items=children),
        links=1000 * await grpc_stream.echo_s(messages=children, streams=min(children, _MAX_STREAMS)),
        reports=1000
        * await publish.burst_s(nats_url, _packed(children, _REPORTS_PER_MESSAGE, _REPORT_BYTES)),
        completed=1000 * await redis_scripts.pipeline_s(redis_url, items=children),
        events=1000 * await publish.burst_s(nats_url, [b"x" * _EVENT_BYTES] * (2 * children)),
    )


def _packed(items: int, per_message: int, item_bytes: int) -> list[bytes]:
    return [b"x" * (item_bytes * min(per_message, items - start)) for start in range(0, items, per_message)]
