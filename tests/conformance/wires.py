"""The five wires: what a link of each can do, as data, and one line that binds it to its agents.

A behaviour that a wire cannot have is a value here too, so that the suite asserts what happens instead. The table of
kinds is the one of the protocols' documents: what is not carried is refused before anything is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

from quarterdeck.contracts.links import Carrier
from tests.conformance.callers import (
    Agent,
    AgentServiceCaller,
    DeepflowCaller,
    Mute,
    QuicflowCaller,
)
from tests.conformance.native_callers import NativeMute, native_agent
from tests.conformance.plane import Job, Plane


class Stop(Enum):
    """What a command that is to be terminated ends with."""

    PROVED = auto()
    """The agent acknowledges the stop, and its result proves the end."""
    REPORTED = auto()
    """The agent says that it killed it."""
    ABANDONED = auto()
    """The protocol has no word for it: ended at the gateway, and the agent may still run it."""


class Newcomer(Enum):
    """What becomes of a second link of the same agent."""

    REPLACES = auto()
    REFUSED = auto()


class LinkLoss(Enum):
    """What becomes of a command whose link is lost while it runs."""

    GOES_ON = auto()
    """The agent keeps it, and tells the rest over its next link."""
    UNKNOWN = auto()
    """The agent keeps nothing: nobody knows how it ended."""


class Fence(Enum):
    """Who turns away what an agent says of a command that is not its own."""

    AGGREGATOR = auto()
    """Reports name the link's agent, and the aggregator knows whose the command is."""
    GATEWAY = auto()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A command that fails, and how that is told."""

    job: Job
    said: str
    """In the error text or on stderr."""
    exit_code: int | None


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Commands in the words of a wire."""

    greets: Job
    bulk: Job
    """An answer of many frames, or of the largest result where there is no output."""
    lasts: Job
    """Runs until it is stopped."""
    fails: Failure


class Connects(Protocol):
    async def __call__(self, plane: Plane, number: int) -> Agent: ...


class ConnectsMute(Protocol):
    async def __call__(self, plane: Plane, number: int) -> Mute: ...


@dataclass(frozen=True, kw_only=True)
class Wire:
    carrier: Carrier
    dialect: str
    agent: Connects
    """An agent that does what it is told, for real. Agents of one number are the same agent."""
    mute: ConnectsMute
    """The same agent, but it takes orders and says only what the test tells it to."""
    jobs: Jobs
    carries: frozenset[str]
    """Of KINDS."""
    stop: Stop
    newcomer: Newcomer
    loss: LinkLoss
    fence: Fence


KINDS: Final[Mapping[str, Job]] = {
    "shell": Job("shell", {"command": "true"}),
    "script": Job("shell", {"script": "#!/bin/sh\ntrue\n"}),
    "exec": Job("exec", {"argv": ["true"]}),
    "registered": Job("update_config", {"config": {"a": 1}}),
    "catalogue": Job("catalogue", {"ident": "hello"}),
    "list_commands": Job("list_commands", {}),
    "list_namespaces": Job("list_namespaces", {}),
}
_SHELL = Jobs(
    greets=Job("shell", {"command": "printf hello"}, stdout=b"hello"),
    bulk=Job("shell", {"command": "head -c 3000001 /dev/zero"}, stdout=bytes(3_000_001)),
    lasts=Job("shell", {"command": "echo up; sleep 600"}),
    fails=Failure(
        job=Job("shell", {"command": "echo no such thing >&2; exit 3"}), said="no such thing", exit_code=3
    ),
)
_CATALOGUE = Jobs(
    greets=Job("catalogue", {"ident": "say", "params": {"what": "hello"}}, stdout=b"hello"),
    bulk=Job("catalogue", {"ident": "zeros", "params": {"bytes": "3000001"}}, stdout=bytes(3_000_001)),
    lasts=Job("catalogue", {"ident": "wait", "params": {"seconds": "600"}}),
    fails=Failure(job=Job("catalogue", {"ident": "fail"}), said="no such thing", exit_code=3),
)
_HANDLERS = Jobs(
    greets=Job("echo", {"said": "hello"}, result={"said": "hello"}),
    bulk=Job("echo", {"said": "x" * 200_000}, result={"said": "x" * 200_000}),
    lasts=Job("restart", {"delay_seconds": 600}),
    fails=Failure(job=Job("self_destruct", {}), said="unknown command: self_destruct", exit_code=None),
)


def _native(carrier: Carrier) -> Wire:
    return Wire(
        carrier=carrier,
        dialect="native",
        agent=native_agent,
        mute=NativeMute.connected,
        jobs=_SHELL,
        carries=frozenset(KINDS),
        stop=Stop.PROVED,
        newcomer=Newcomer.REPLACES,
        loss=LinkLoss.GOES_ON,
        fence=Fence.AGGREGATOR,
    )


NATIVE_QUIC: Final = _native(Carrier.QUIC)
NATIVE_GRPC: Final = _native(Carrier.GRPC)
AGENT_SERVICE: Final = Wire(
    carrier=Carrier.GRPC,
    dialect="agent_service",
    agent=AgentServiceCaller.connected,
    mute=partial(AgentServiceCaller.connected, deaf=True),
    jobs=_SHELL,
    carries=frozenset({"shell", "script", "exec"}),
    stop=Stop.REPORTED,
    newcomer=Newcomer.REPLACES,
    loss=LinkLoss.UNKNOWN,
    fence=Fence.GATEWAY,
)
DEEPFLOW: Final = Wire(
    carrier=Carrier.GRPC,
    dialect="deepflow",
    agent=DeepflowCaller.connected,
    mute=partial(DeepflowCaller.connected, deaf=True),
    jobs=_CATALOGUE,
    carries=frozenset({"catalogue", "list_commands", "list_namespaces"}),
    stop=Stop.ABANDONED,
    newcomer=Newcomer.REPLACES,
    loss=LinkLoss.UNKNOWN,
    fence=Fence.GATEWAY,
)
QUICFLOW: Final = Wire(
    carrier=Carrier.QUIC,
    dialect="quicflow",
    agent=QuicflowCaller.connected,
    mute=partial(QuicflowCaller.connected, deaf=True),
    jobs=_HANDLERS,
    carries=frozenset(
        {"registered", "catalogue"}
    ),  # a client may have a handler of any name but a built-in one's
    stop=Stop.ABANDONED,
    newcomer=Newcomer.REFUSED,
    loss=LinkLoss.UNKNOWN,
    fence=Fence.GATEWAY,
)
