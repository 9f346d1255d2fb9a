"""What is about the service itself: health, metrics, the documents that describe the API and its events."""

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.parts import Parts
from quarterdeck.core.metrics import CONTENT_TYPE, render_metrics
from quarterdeck.web.answers import Answer


def meta_routes(parts: Parts, *, openapi: bytes, asyncapi: bytes) -> list[HTTPRouteHandler]:
    """`openapi`, `asyncapi`: JSON documents, made once."""

    @get("/health/live")
    async def live() -> Answer:
        return Answer(b'{"live":true}')

    @get("/health/ready")
    async def ready() -> Answer:
        snapshot = parts.health.snapshot()
        return Answer(msgspec.json.encode(snapshot), status=200 if snapshot.ready else 503)

    @get("/metrics")
    async def metrics() -> Answer:
        return Answer(render_metrics(), media_type=CONTENT_TYPE.encode())

    @get("/schema")
    async def show_openapi() -> Answer:
        return Answer(openapi)

    @get("/schema/asyncapi.json")
    async def show_asyncapi() -> Answer:
        return Answer(asyncapi)

    return [live, ready, metrics, show_openapi, show_asyncapi]
