"""The sample commands as a quicflow client, to try a deployment with: restart and update_config.

python -m quarterdeck.agent.quicflow --server quic://127.0.0.1:8474 --client-id client-001 --ca ca.pem
"""

import argparse
import sys
from pathlib import Path

from quarterdeck.agent.errors import BadAgentSettings
from quarterdeck.agent.quicflow.settings import QuicflowSettings
from quarterdeck.agent.samples import SampleCommands
from quarterdeck.agent.sdk import Agent
from quarterdeck.agent.settings import ServerAddress
from quarterdeck.core.logging import configure


def main(arguments: list[str]) -> int:
    """Returns the exit code: 2 for arguments that cannot work."""
    parser = argparse.ArgumentParser(
        prog="quarterdeck.agent.quicflow", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--server", required=True, help="quic://host:port of a QUIC gateway")
    parser.add_argument("--client-id", required=True, help="the name that the client was registered under")
    parser.add_argument("--ca", required=True, type=Path, help="PEM file of the gateway's CA")
    asked = parser.parse_args(arguments)
    configure("console", "info")
    agent = Agent()
    SampleCommands().register(agent.handlers)
    try:
        settings = QuicflowSettings(
            server=ServerAddress.parse(asked.server), client_id=asked.client_id, ca_pem=asked.ca.read_bytes()
        )
    except (BadAgentSettings, OSError) as error:
        parser.error(str(error))
    agent.run(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
