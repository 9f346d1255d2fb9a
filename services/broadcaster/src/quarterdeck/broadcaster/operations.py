"""Every operation of the broadcaster and what it requires. Routes that have no row here are denied."""

from typing import Final

from quarterdeck.core.runtime import HealthSnapshot
from quarterdeck.web.operations import PUBLIC, Operation, Operations
from quarterdeck.web.watch import WATCH_OPERATIONS

OPERATIONS: Final = Operations(
    (
        *WATCH_OPERATIONS,
        Operation(
            method="GET",
            path="/health/live",
            action=PUBLIC,
            summary="The process answers.",
            answers={200: "application/json"},
        ),
        Operation(
            method="GET",
            path="/health/ready",
            action=PUBLIC,
            summary="The service can do its work.",
            answers={200: HealthSnapshot, 503: HealthSnapshot},
        ),
        Operation(
            method="GET",
            path="/metrics",
            action="metrics.read",
            summary="Prometheus metrics.",
            answers={200: "text/plain"},
        ),
    )
)
