"""Litestar, put together as both HTTP services want it: deny by default, problem documents, no pages of its own."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from quarterdeck.contracts.errors import InvalidInput, QuarterdeckError
from quarterdeck.contracts.limits import MAX_BODY_BYTES
from quarterdeck.web.errors import BodyTooLarge, MethodNotAllowed, PathNotFound
from quarterdeck.web.operations import Operations
from quarterdeck.web.problems import MEDIA_TYPE, Problem

log = structlog.get_logger()

ProblemOf = Callable[[QuarterdeckError, str], Problem]
"""(error, path) → what to answer. The path decides which source system's members stand beside the problem's own."""


def build(
    route_handlers: Sequence[ControllerRouterHandler], operations: Operations, problem_of: ProblemOf
) -> Litestar:
    """The application behind the gate."""

    def answer(request: Request[Any, Any, Any], error: QuarterdeckError) -> Response[bytes]:
        problem = problem_of(error, request.scope["path"])
        return Response(
            problem.body,
            status_code=problem.status,
            headers=problem.headers,
            media_type=MEDIA_TYPE,
        )

    def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        return answer(request, _ours(request, error))

    def on_surprise(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        log.error("web.request_failed", route=request.scope.get("path_template"), exc_info=error)
        return answer(request, QuarterdeckError(str(error)))

    return Litestar(
        route_handlers,
        before_request=operations.check,
        exception_handlers={
            QuarterdeckError: answer,
            HTTPException: on_http_error,
            Exception: on_surprise,
        },
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY_BYTES,
    )


def _ours(request: Request[Any, Any, Any], error: HTTPException) -> QuarterdeckError:
    match error.status_code:
        case 404:
            return PathNotFound(request.scope["path"])
        case 405:
            return MethodNotAllowed(request.method)
        case 413:
            return BodyTooLarge(MAX_BODY_BYTES)
        case status if status < 500:
            return InvalidInput(error.detail, field="request")
        case _:
            return QuarterdeckError(error.detail)
