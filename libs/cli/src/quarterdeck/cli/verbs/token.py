"""`qd token`: API tokens for people and programs, join tokens for agents."""

import asyncio

from cyclopts import App

from quarterdeck.cli import selection
from quarterdeck.cli.client.api import Api
from quarterdeck.cli.context import ANY_SERVER, Server
from quarterdeck.cli.durations import Duration
from quarterdeck.cli.exit_codes import ExitCode
from quarterdeck.cli.screen import Screen
from quarterdeck.cli.tables import rows_of

app = App(name="token", help="Make, list and revoke tokens.")


@app.command
def create(principal: str, /, *, expires_in: Duration | None = None, server: Server = ANY_SERVER) -> int:
    """Make an API token. Its text is printed once and stored nowhere.

    Parameters
    ----------
    principal
        Who acts with it: a person or a program.
    expires_in
        Such as 30d. Default: never.
    """
    return asyncio.run(_create(principal, expires_in, server))


async def _create(principal: str, expires_in_ms: int | None, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        made = await api.create_token(
            principal, None if expires_in_ms is None else max(1, expires_in_ms // 1000)
        )
    print(made.token)
    return ExitCode.OK


@app.command(name="ls")
def list_tokens(*, server: Server = ANY_SERVER) -> int:
    """List the API tokens; their texts are known to nobody."""
    return asyncio.run(_list(server))


async def _list(server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        tokens = await api.tokens()
    rows = ((token.token_id, token.principal, token.created_at, token.expires_at) for token in tokens)
    Screen.of_process().show(rows_of(("ID", "PRINCIPAL", "CREATED", "EXPIRES"), rows))
    return ExitCode.OK


@app.command
def revoke(token_id: str, /, *, server: Server = ANY_SERVER) -> int:
    """Revoke an API token by its id."""
    return asyncio.run(_revoke(token_id, server))


async def _revoke(token_id: str, server: Server) -> int:
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        await api.revoke_token(token_id)
    return ExitCode.OK


@app.command
def join(
    *,
    expires_in: Duration = 900_000,
    uses: int = 1,
    label: tuple[str, ...] = (),
    server: Server = ANY_SERVER,
) -> int:
    """Make a join token, with which agents enrol. It carries the CA that they will trust.

    Parameters
    ----------
    expires_in
        Default: 15m.
    uses
        How many agents may enrol with it.
    label
        Bound to every agent that enrols with it: `role=web`. Repeat it for more.
    """
    return asyncio.run(_join(expires_in, uses, label, server))


async def _join(expires_in_ms: int, uses: int, label: tuple[str, ...], server: Server) -> int:
    labels = selection.parse_selectors(label)
    connection = server.resolve()
    async with Api(connection.url, connection.token) as api:
        made = await api.create_join_token(ttl_s=max(1, expires_in_ms // 1000), uses=uses, labels=labels)
    print(made.join_token)
    return ExitCode.OK
