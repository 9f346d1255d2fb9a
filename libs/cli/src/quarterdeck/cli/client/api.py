"""What can be asked of a Quarterdeck server: one method per route that the command line uses.

Owns paths and bodies. Answers are the types of models.py; errors are ApiProblem and ServerUnreachable.
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import msgspec

from quarterdeck.cli.client import feed, models
from quarterdeck.cli.client.rest import Rest, cause, decode, problem
from quarterdeck.cli.errors import ServerUnreachable


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /api/batch_commands. Durations in seconds, as that route has them."""

    target_vps_ids: Sequence[str]
    """`agent` or `agent/guest`, each once."""
    command_type: str
    payload: Mapping[str, Any]
    timeout: float | None = None
    no_output_timeout: float | None = None
    grace: float | None = None
    max_output_bytes: int | None = None
    queue_for: float | None = None
    priority: int | None = None
    retry: Mapping[str, int] | None = None
    working_directory: str | None = None
    env: Mapping[str, str] | None = None
    depends_on: Sequence[str] | None = None
    execution_alias: str | None = None


class Health(NamedTuple):
    status: int
    members: dict[str, Any]


class Api(Rest):
    """The server at `base_url`, as this user's token lets them see it."""

    async def submit(self, order: Order) -> models.BatchAccepted:
        """Starts a batch. Sent again after a broken connection: the idempotency key makes it one batch all the same."""
        response = await self.send(
            "POST",
            "/api/batch_commands",
            body=msgspec.to_builtins(order),
            headers={"Idempotency-Key": str(uuid.uuid4())},
            again=True,
        )
        return decode(response, models.BatchAccepted)

    async def batch(self, batch_id: str, *, wait_s: int | None = None) -> models.Batch:
        """`wait_s`: answer when the batch has ended, at the latest after so many seconds."""
        params = {} if wait_s is None else {"wait": wait_s}
        return await self.get(f"/api/batch_commands/{batch_id}", models.Batch, params)

    async def batches(self, limit: int) -> models.BatchPage:
        """The newest first."""
        return await self.get("/api/batch_commands", models.BatchPage, {"limit": limit})

    async def command(self, command_id: str) -> models.Command:
        class _Answer(msgspec.Struct):
            command: models.Command

        return (await self.get(f"/api/command/{command_id}", _Answer)).command

    async def commands(
        self, *, agent_id: str | None = None, status: str | None = None, limit: int
    ) -> models.CommandPage:
        """The newest first. `status`: a name of seed 0, or a unified state."""
        params = {"client_id": agent_id, "status": status, "limit": limit}
        present = {name: value for name, value in params.items() if value is not None}
        return await self.get("/api/commands", models.CommandPage, present)

    async def terminate_batch(self, batch_id: str) -> None:
        await self.send("POST", f"/api/batch_commands/{batch_id}/terminate", again=True)

    async def terminate_command(self, command_id: str) -> None:
        await self.send("POST", f"/api/command/{command_id}/terminate", again=True)

    async def agents(self, *, connected: bool | None = None) -> list[models.Agent]:
        """The tenant's agents; all of them unless `connected` says otherwise."""
        params = {} if connected is None else {"connected": str(connected).lower()}
        return (await self.get("/api/agents", models.AgentPage, params)).agents

    async def enrolled_agents(self) -> list[models.Agent]:
        """Those that commands can go to: without the revoked ones."""
        return [agent for agent in await self.agents() if not agent.revoked]

    async def register_agent(
        self, agent_id: str, *, dialect: str, identity: Mapping[str, Any], name: str
    ) -> models.RegisteredAgent:
        """An agent of another protocol. Not sent again: each answer may carry a new secret."""
        body = {"agent_id": agent_id, "dialect": dialect, "identity": identity, "name": name}
        answer = await self.send("POST", "/api/agents", body=body, again=False)
        return decode(answer, models.RegisteredAgent)

    async def revoke_agent(self, agent_id: str) -> None:
        await self.send("DELETE", f"/api/agents/{agent_id}", again=True)

    async def output(self, command_id: str, stream: str) -> AsyncIterator[bytes]:
        """The whole stored output of one stream, in pieces. `stream`: stdout or stderr."""
        async with self.http.stream(
            "GET",
            f"/api/command/{command_id}/output",
            params={"stream": stream},
            headers={"Accept": "application/octet-stream"},
        ) as response:
            if not response.is_success:
                await response.aread()
                raise problem(response)
            async for piece in response.aiter_bytes():
                yield piece

    def watch_batch(self, batch_id: str, *, output: bool = True) -> AsyncIterator[feed.FeedEvent]:
        """From the batch's first event to its `end`."""
        return feed.follow(self, f"/api/batch_commands/{batch_id}/events", _output(output))

    def watch_command(self, command_id: str, *, output: bool = True) -> AsyncIterator[feed.FeedEvent]:
        """From the command's first event to its `end`."""
        return feed.follow(self, f"/api/command/{command_id}/events", _output(output))

    async def create_token(self, principal: str, ttl_s: int | None) -> models.Token:
        """The text of the token is in this answer and nowhere else, ever."""
        body = {"principal": principal, **({} if ttl_s is None else {"expires_in_s": ttl_s})}
        return decode(await self.send("POST", "/api/tokens", body=body, again=False), models.Token)

    async def tokens(self) -> list[models.Token]:
        return (await self.get("/api/tokens", models.TokenPage)).tokens

    async def revoke_token(self, token_id: str) -> None:
        await self.send("DELETE", f"/api/tokens/{token_id}", again=True)

    async def create_join_token(
        self, *, ttl_s: int, uses: int, labels: Mapping[str, str]
    ) -> models.JoinToken:
        body = {"ttl_s": ttl_s, "uses": uses, "labels": labels}
        return decode(await self.send("POST", "/api/tokens/join", body=body, again=False), models.JoinToken)

    async def health(self) -> Health:
        """Readiness, whatever the status. Raises ServerUnreachable."""
        try:
            response = await self.http.get("/health/ready")
        except httpx.TransportError as error:
            raise ServerUnreachable(self.base_url, cause(error)) from error
        try:
            members = msgspec.json.decode(response.content, type=dict[str, Any])
        except msgspec.MsgspecError:
            members = {}
        return Health(response.status_code, members)


def _output(wanted: bool) -> dict[str, Any]:
    return {} if wanted else {"output": 0}
