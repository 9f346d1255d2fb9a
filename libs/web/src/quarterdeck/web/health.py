"""Health and metrics on a service's own port."""

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from quarterdeck.core.metrics import CONTENT_TYPE, render_metrics
from quarterdeck.core.runtime import Health
from quarterdeck.web.answers import Answer


def health_routes(health: Health) -> list[HTTPRouteHandler]:
    @get("/health/live")
    async def live() -> Answer:
        return Answer(b'{"live":true}')

    @get("/health/ready")
    async def ready() -> Answer:
        snapshot = health.snapshot()
        return Answer(msgspec.json.encode(snapshot), status=200 if snapshot.ready else 503)

    @get("/metrics")
    async def metrics() -> Answer:
        return Answer(render_metrics(), media_type=CONTENT_TYPE.encode())

    return [live, ready, metrics]
