"""The stated bounds of memory, by role. docs/limits.md tells where each comes from; the scenes are judged by them."""

from collections.abc import Mapping
from typing import Final

BOUND_MIB: Final[Mapping[str, int]] = {
    "nats": 1024,
    "redis": 128,
    "api": 192,
    "dispatcher": 128,
    "quic-gateway": 192,
    "grpc-gateway": 192,
    "aggregator": 128,
    "broadcaster": 384,
    "agent": 128,
}
"""RSS of one process. Gateways: with up to 32 links that stream at once; beyond, their output budget of 256 MiB.
Broadcaster and api (which hands on the streams of `up`): with 200 watchers that stall at the same time."""

P99_RATIO: Final = 3.0
"""Of everybody else's small commands, disturbed to undisturbed, in one run."""


def bound_mib(process_name: str) -> int:
    """`process_name`: as MemoryWatch calls it; `grpc-gateway-2` is a gRPC gateway."""
    role = process_name.split(maxsplit=1)[0]
    if role in BOUND_MIB:
        return BOUND_MIB[role]
    return BOUND_MIB[role.rpartition("-")[0]]


def beyond(peak_mib: Mapping[str, float]) -> dict[str, float]:
    """Whatever is above its bound."""
    return {name: mib for name, mib in peak_mib.items() if mib > bound_mib(name)}
