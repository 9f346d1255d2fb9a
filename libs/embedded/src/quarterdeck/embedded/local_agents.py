"""Agents on this very machine, one process each, half of them per carrier. For trying things out, demos and tests.

Owns their names, arguments and the question whether all of them are connected. Called by system.py.
"""

import json
import signal
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from quarterdeck.contracts.links import Carrier
from quarterdeck.embedded import probe
from quarterdeck.embedded.bootstrap import Trust
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.service_process import Launch, ProcessSettings, ServiceProcess


class LocalFleet(msgspec.Struct, frozen=True, kw_only=True):
    """What all local agents share. `servers`: gateway addresses `host:port` by carrier."""

    data_dir: DataDir
    environ: Mapping[str, str]
    trust: Trust
    servers: Mapping[Carrier, Sequence[str]]
    log_level: str = "info"

    def unit(self, agent_id: str, carrier: Carrier) -> ServiceProcess:
        """The process of one agent; it counts as started when it was spawned (see `all_connected`)."""
        directory = self.data_dir.agent(agent_id)
        arguments = [
            *(argument for server in self.servers[carrier] for argument in ("--server", f"{carrier}://{server}")),
            *("--data-dir", str(directory)),
            *("--agent-id", agent_id),
            *("--label", f"carrier={carrier}"),
            *("--join-token", f"@{self.trust.join_token_file}"),
            *("--ca", str(self.trust.ca)),
            *("--log-format", "json", "--log-level", self.log_level),
        ]  # fmt: skip

        def launch() -> Launch:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            env = {**self.environ, "PYTHONUNBUFFERED": "1"}
            return Launch(argv=("quarterdeck.agent", *arguments), env=env)

        return ServiceProcess(
            ProcessSettings(
                name=agent_id,
                cwd=self.data_dir.run,
                log_path=self.data_dir.log(agent_id),
                launch=launch,
                # Not SIGKILL: an agent that hears of its parent's death ends the commands that it runs.
                death_signal=signal.SIGTERM,
            )
        )


def carrier_of(number: int) -> Carrier:
    """agent-1 is reached over QUIC, agent-2 over gRPC, and so on."""
    return Carrier.QUIC if number % 2 else Carrier.GRPC


async def all_connected(api_url: str, token: str, agent_ids: Iterable[str]) -> bool:
    """Whether the API sees a link of each of them: from then on commands reach them."""
    answer = await probe.get(f"{api_url}/api/agents?connected=true", token=token)
    if answer is None or answer.status != 200:
        return False
    connected = {agent["agent_id"] for agent in json.loads(answer.body)["agents"]}
    return connected.issuperset(agent_ids)
