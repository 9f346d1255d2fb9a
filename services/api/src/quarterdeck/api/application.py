"""The api's ASGI application, outermost layer first: forward (optional) → gate → throttle (optional) → Litestar."""

import re
from importlib.metadata import version
from typing import Final

import msgspec
from litestar.types import ASGIApp

from quarterdeck.api.forward import Forward
from quarterdeck.api.operations import DESCRIBED, OPERATIONS
from quarterdeck.api.parts import Parts
from quarterdeck.api.problems import api_problem
from quarterdeck.api.routes.agent_calls import agent_call_routes
from quarterdeck.api.routes.agents import agent_routes
from quarterdeck.api.routes.batches import batch_routes
from quarterdeck.api.routes.commands import command_routes
from quarterdeck.api.routes.console import console_routes
from quarterdeck.api.routes.meta import meta_routes
from quarterdeck.api.routes.output import output_routes
from quarterdeck.api.routes.policy import policy_routes
from quarterdeck.api.routes.sessions import session_routes
from quarterdeck.api.routes.tokens import token_routes
from quarterdeck.contracts.asyncapi import asyncapi_document
from quarterdeck.web.application import build
from quarterdeck.web.gate import Gate
from quarterdeck.web.health import health_routes
from quarterdeck.web.openapi import openapi_document
from quarterdeck.web.tokens import Authenticator
from quarterdeck.web.watch import WATCH_PATHS

_VERSION: Final = version("quarterdeck-api")

_TICKET_PATHS: Final = re.compile(rf"{WATCH_PATHS.pattern}|/api/command/[^/]+/output", re.ASCII)
"""Where browsers go without headers of ours: event streams, and logs that they save to disk themselves."""


def api_application(parts: Parts) -> ASGIApp:
    litestar = build(
        [
            *command_routes(parts),
            *batch_routes(parts),
            *output_routes(parts),
            *agent_routes(parts),
            *agent_call_routes(parts),
            *session_routes(parts),
            *token_routes(parts),
            *policy_routes(parts),
            *console_routes(),
            *health_routes(parts.health),
            *meta_routes(
                openapi=msgspec.json.encode(
                    openapi_document(DESCRIBED, title="Quarterdeck", version=_VERSION)
                ),
                asyncapi=msgspec.json.encode(asyncapi_document(version=_VERSION)),
            ),
        ],
        OPERATIONS,
        api_problem,
    )
    gate = Gate(
        _throttled(litestar, parts),
        Authenticator(parts.registry, parts.clock),
        parts.tickets,
        parts.health,
        public_paths=OPERATIONS.public_paths,
        ticket_paths=_TICKET_PATHS,
        problem=api_problem,
    )
    url = parts.settings.broadcaster_url
    return gate if url is None else Forward(gate, url)


def _throttled(application: ASGIApp, parts: Parts) -> ASGIApp:
    rates = parts.limits.rates
    if rates is None or not rates.of_principals:
        return application
    from quarterdeck.api.rate_limits import Throttle

    return Throttle(application, rates)
