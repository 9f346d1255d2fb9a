"""Agents of all wires in one shape: some that do what they are told, some that say only what a test says.

Here are the stand-alone ones of `tests/conformance/agents`, in `native_callers` our own. What differs from protocol to
protocol for the suite is said in these two and nowhere else.
"""

import asyncio
from typing import Any, Protocol, Self, TypeVar

from quarterdeck.contracts import reports
from quarterdeck.testing.eventually import eventually
from tests.conformance.agents import agent_service, deepflow, quicflow
from tests.conformance.handpacked import nested
from tests.conformance.plane import PATIENCE_S, Plane

NONSENSE = b"\xff\xff\xff"
"""No protobuf message."""


class Refused(Exception):
    """The gateway did not take the agent."""


class Agent(Protocol):
    @property
    def agent_id(self) -> str: ...
    async def begun(self, plane: Plane, command_id: str) -> None:
        """Returns when its first command runs, as far as anybody can tell."""
        ...

    async def close(self) -> None:
        """Hang up without a word. Any number of calls."""
        ...


class Mute(Agent, Protocol):
    async def ordered(self, count: int) -> int:
        """How many commands arrived, once there are `count` of them."""
        ...

    async def say_result(self, command_id: str) -> None:
        """A success, whether or not it was asked for."""
        ...

    async def say_nonsense(self) -> None: ...

    async def hung_up(self) -> None:
        """Returns when the gateway ended the link."""
        ...


C = TypeVar("C", bound=Agent)


class AgentServiceCaller:
    def __init__(self, sample: agent_service.SampleAgent) -> None:
        self.agent_id = f"vps-{sample.options.vps_db_id}"
        self.close = sample.close
        self._sample = sample

    @classmethod
    async def connected(cls, plane: Plane, number: int, *, deaf: bool = False) -> Self:
        """Raises Refused."""
        options = agent_service.AgentOptions(vps_db_id=number, secret="s3cret", deaf=deaf)
        sample = agent_service.SampleAgent(_plain(plane), options)
        return await _connected(plane, cls(sample), sample)

    async def begun(self, plane: Plane, command_id: str) -> None:
        await plane.report(reports.Started, command_id)

    async def ordered(self, count: int) -> int:
        await eventually(lambda: len(self._sample.orders) >= count, within_s=PATIENCE_S)
        return len(self._sample.orders)

    async def say_result(self, command_id: str) -> None:
        await self._sample.say_result(command_id, agent_service.SUCCESS)

    async def say_nonsense(self) -> None:
        await self._sample.say_raw(NONSENSE)

    async def hung_up(self) -> None:
        await asyncio.wait_for(self._sample.ended.wait(), PATIENCE_S)


class DeepflowCaller:
    """Knows commands by the numbers of its own link: what it says of another's is a number that nobody gave it."""

    def __init__(self, sample: deepflow.SampleAgent) -> None:
        tail = sample.options.ip.rpartition(".")[2]
        self.agent_id = f"df-10-0-0-{tail}-aa-bb-cc-dd-ee-{int(tail):02x}"
        self.close = sample.close
        self._sample = sample

    @classmethod
    async def connected(cls, plane: Plane, number: int, *, deaf: bool = False) -> Self:
        """Raises Refused."""
        options = deepflow.AgentOptions(ip=f"10.0.0.{number}", mac=f"aa:bb:cc:dd:ee:{number:02x}", deaf=deaf)
        sample = deepflow.SampleAgent(_plain(plane), options)
        return await _connected(plane, cls(sample), sample)

    async def begun(self, plane: Plane, command_id: str) -> None:
        await self.ordered(1)  # its first word of a command may be the last

    async def ordered(self, count: int) -> int:
        return len(await asyncio.wait_for(self._sample.asked(count), PATIENCE_S))

    async def say_result(self, command_id: str) -> None:
        request_id = self._sample.requests[-1].integer(1) if self._sample.requests else 4711
        await self._sample.say(request_id, nested(6))

    async def say_nonsense(self) -> None:
        await self._sample.say_raw(NONSENSE)

    async def hung_up(self) -> None:
        await asyncio.wait_for(self._sample.ended.wait(), PATIENCE_S)


class QuicflowCaller:
    def __init__(self, sample: quicflow.SampleClient) -> None:
        self.agent_id = sample.options.client_id
        self.close = sample.close
        self._sample = sample

    @classmethod
    async def connected(cls, plane: Plane, number: int, *, deaf: bool = False) -> Self:
        """Raises Refused."""
        address = f"127.0.0.1:{plane.gateway.address.port}"
        options = quicflow.ClientOptions(client_id=f"client-{number:03}", deaf=deaf)
        sample = quicflow.SampleClient(address, plane.gateway.ca_pem, options)
        return await _connected(plane, cls(sample), sample)

    async def begun(self, plane: Plane, command_id: str) -> None:
        await plane.report(reports.Started, command_id)

    async def ordered(self, count: int) -> int:
        await eventually(lambda: len(self._sample.orders) >= count, within_s=PATIENCE_S)
        return len(self._sample.orders)

    async def say_result(self, command_id: str) -> None:
        self._sample.say_ack(command_id)

    async def say_nonsense(self) -> None:
        self._sample.say_raw(len(NONSENSE).to_bytes(4) + NONSENSE, fin=True)

    async def hung_up(self) -> None:
        await asyncio.wait_for(self._sample.ended.wait(), PATIENCE_S)


async def _connected(plane: Plane, caller: C, sample: Any) -> C:
    """Raises Refused."""
    try:
        await sample.connect()
    except (agent_service.NotAccepted, deepflow.NotAnswered, quicflow.NotAccepted) as refusal:
        await sample.close()
        raise Refused from refusal
    plane.callers.push_async_callback(caller.close)
    return caller


def _plain(plane: Plane) -> str:
    assert plane.gateway.plain_address is not None
    return plane.gateway.plain_address
