"""Two sample commands, as in the source system: restart and update_config. Registered only on request.

They touch nothing on the host: restart waits and answers, update_config keeps the configuration in memory.
"""

import asyncio
from typing import Annotated

import msgspec

from quarterdeck.agent.handlers import CannotExecute, FunctionHandler, Handlers


class RestartParams(msgspec.Struct):
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0


class UpdateConfigParams(msgspec.Struct):
    config: dict[str, str | int | float | bool | None]


class SampleResult(msgspec.Struct):
    success: bool
    message: str


class SampleCommands:
    """The state that the samples share: one restart at a time, and the last configuration."""

    def __init__(self) -> None:
        self._restarting = False
        self.config: dict[str, str | int | float | bool | None] = {}

    def register(self, handlers: Handlers) -> None:
        handlers.register_handler("restart", FunctionHandler(self.restart))
        handlers.register_handler("update_config", FunctionHandler(self.update_config))

    async def restart(self, params: RestartParams) -> SampleResult:
        if self._restarting:
            raise CannotExecute("resource busy")
        self._restarting = True
        try:
            await asyncio.sleep(params.delay_seconds)
        finally:
            self._restarting = False
        return SampleResult(success=True, message="Restarted")

    async def update_config(self, params: UpdateConfigParams) -> SampleResult:
        self.config.update(params.config)
        return SampleResult(success=True, message="Config updated")
