"""The Python SDK: an agent with command handlers of your own.

    agent = Agent()

    class RestartParams(msgspec.Struct):
        delay_seconds: float = 0

    @agent.handler("restart")
    async def restart(params: RestartParams, context: HandlerContext) -> RestartResult: ...

    agent.run(settings)

Shell and exec commands work beside the handlers. With QuicflowSettings the same handlers run on the other wire, as a
quicflow client, which has nothing beside them. See handlers.py for what a handler may raise.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from quarterdeck.agent.handlers import CannotExecute, FunctionHandler, HandlerContext, Handlers, Precheck
from quarterdeck.agent.quicflow.run import run_client
from quarterdeck.agent.quicflow.settings import QuicflowSettings
from quarterdeck.agent.runner import run_agent
from quarterdeck.agent.settings import AgentSettings

__all__ = ["Agent", "AgentSettings", "CannotExecute", "HandlerContext", "Handlers", "QuicflowSettings"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Agent:
    """Handlers, and a way to run an agent with them."""

    def __init__(self) -> None:
        self.handlers = Handlers()

    def handler(
        self, command_type: str, *, precheck: Precheck | None = None
    ) -> Callable[[_Function], _Function]:
        """Decorator: executes `command_type`.

        The function takes `(params)` or `(params, context)`; `params` is decoded from the payload by its annotation,
        and the result is encoded as JSON. Plain functions run in a thread. `precheck(params)` may return why not now.
        """

        def register(function: _Function) -> _Function:
            self.handlers.register_handler(command_type, FunctionHandler(function, precheck))
            return function

        return register

    def run(self, settings: AgentSettings | QuicflowSettings) -> None:
        """Until SIGTERM or SIGINT. Raises AgentRefused, BadAgentSettings, InvalidJoinToken."""
        asyncio.run(self.serve(settings))

    async def serve(
        self, settings: AgentSettings | QuicflowSettings, stopping: asyncio.Event | None = None
    ) -> None:
        """As `run`, inside a running loop; ends when `stopping` is set."""
        if isinstance(settings, QuicflowSettings):
            await run_client(settings, self.handlers, stopping)
        else:
            await run_agent(settings, self.handlers, stopping)
