"""What passes between an executor and the front that it starts, beside frames: settings in, the reason of its end out.

Both are one JSON document: the settings on the front's stdin, since they hold the join token and arguments and
environments can be read by others; the end on its stdout. The executor keeps stdin open: its end tells the front to
leave, or that the executor has died.
"""

from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from quarterdeck.agent.errors import AgentRefused, BadAgentSettings
from quarterdeck.agent.settings import AgentSettings

FRONT_MODULE: Final = "quarterdeck.agent.front_main"

EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
"""No gateway will take this agent: restarting it is pointless until somebody acts (systemd:
RestartPreventExitStatus)."""


class FrontLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """One line on the front's stdin."""

    settings: AgentSettings
    """As the front shall see them: its own data directory, and no environment, which is the executor's business."""


class FrontEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Why the front ended with EXIT_USAGE or EXIT_REFUSED."""

    code: str
    """Of the error."""
    reason: str = ""
    """Of AgentRefused."""
    message: str = ""

    def raise_error(self) -> NoReturn:
        """Raises the front's error in the executor's process: AgentRefused or BadAgentSettings."""
        if self.code == AgentRefused.code:
            raise AgentRefused(self.reason, self.message)
        raise BadAgentSettings(self.message, field=self.reason)


def encode_launch(launch: FrontLaunch) -> bytes:
    return msgspec.json.encode(launch, enc_hook=_encode_path) + b"\n"


def decode_launch(line: bytes) -> FrontLaunch:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(line, type=FrontLaunch, dec_hook=_decode_path)


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode_path(kind: type, value: Any) -> Any:
    if issubclass(kind, Path):
        return Path(value)
    raise NotImplementedError(kind.__name__)


def encode_end(end: FrontEnd) -> bytes:
    return msgspec.json.encode(end)


def decode_end(text: bytes) -> FrontEnd:
    """Of a front that died before it could say, one that says nothing."""
    try:
        return msgspec.json.decode(text, type=FrontEnd)
    except msgspec.DecodeError:
        return FrontEnd(code=BadAgentSettings.code, message="the front could not start")
