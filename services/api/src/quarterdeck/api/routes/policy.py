"""What a tenant's callers may order: shown and replaced as a whole. And approvals of what waits for one."""

from typing import Final

import msgspec
from litestar import get, post, put
from litestar.handlers import HTTPRouteHandler

from quarterdeck.api.errors import ApprovalNotAwaited, OwnApproval
from quarterdeck.api.handlers.policies import new_policy
from quarterdeck.api.handlers.requests import ReplacePolicy
from quarterdeck.api.parts import Parts
from quarterdeck.api.views import policies as views
from quarterdeck.contracts.errors import NotFound
from quarterdeck.contracts.states import BatchState, CommandState
from quarterdeck.core.store import BatchView, CommandView
from quarterdeck.web.answers import Answer
from quarterdeck.web.body import read_body
from quarterdeck.web.decoding import decode_body
from quarterdeck.web.paths import WebRequest, path_id

_MAY_WAIT: Final = frozenset(
    {CommandState.PENDING, CommandState.WAITING, BatchState.PENDING, BatchState.IN_PROGRESS}
)


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

    async def approve_subject(request: WebRequest, held: CommandView | BatchView, subject_id: str) -> Answer:
        if not held.spec.needs_approval or held.state not in _MAY_WAIT:
            raise ApprovalNotAwaited(subject_id)
        if held.user_id == request.user.name:
            raise OwnApproval
        by = await parts.limits.policies.approve(request.user.tenant, subject_id, request.user.name)
        return Answer(msgspec.json.encode(views.Approved(id=subject_id, approved_by=by)))

    @post("/api/command/{command_id:str}/approve", status_code=200)
    async def approve(request: WebRequest) -> Answer:
        command_id = path_id(request, "command_id")
        view = await parts.store.command(request.user.tenant, command_id)
        if view is None:
            raise NotFound("command_id: no such command", field="command_id")
        if view.batch_id is not None:
            raise ApprovalNotAwaited(command_id)  # its batch is approved as a whole
        return await approve_subject(request, view, command_id)

    @post("/api/batch_commands/{batch_command_id:str}/approve", status_code=200)
    async def approve_batch(request: WebRequest) -> Answer:
        batch_id = path_id(request, "batch_command_id")
        view = await parts.store.batch(request.user.tenant, batch_id)
        if view is None:
            raise NotFound("batch_command_id: no such batch", field="batch_command_id")
        return await approve_subject(request, view, batch_id)

    return [show, replace, approve, approve_batch]
