"""The documents that describe the API and its events."""

from litestar import get
from litestar.handlers import HTTPRouteHandler

from quarterdeck.web.answers import Answer


def meta_routes(*, openapi: bytes, asyncapi: bytes) -> list[HTTPRouteHandler]:
    """Both: JSON documents, made once."""

    @get("/schema")
    async def show_openapi() -> Answer:
        return Answer(openapi)

    @get("/schema/asyncapi.json")
    async def show_asyncapi() -> Answer:
        return Answer(asyncapi)

    return [show_openapi, show_asyncapi]
