"""What a tenant's callers may order: shown and replaced as a whole."""

import msgspec
from litestar import get, put
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.handlers.policies import new_policy
from quarterdeck.api.handlers.requests import ReplacePolicy
from quarterdeck.api.parts import Parts
from quarterdeck.api.views import policies as views
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.paths import WebRequest


def policy_routes(parts: Parts) -> list[HTTPRouteHandler]:
    @get("/api/policy")
    async def show(request: WebRequest) -> Answer:
        policy = parts.limits.policies.of(request.user.tenant)
        return Answer(msgspec.json.encode(views.policy(policy)))

    @put("/api/policy")
    async def replace(request: WebRequest) -> Answer:
        asked = decode_body(await read_body(request), ReplacePolicy)
        policy = new_policy(asked, request.user, parts.clock.now_ms())
        await parts.limits.policies.replace(policy)
        return Answer(msgspec.json.encode(views.policy(policy)))

    return [show, replace]
