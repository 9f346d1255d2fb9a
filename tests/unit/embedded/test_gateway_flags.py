"""What a gateway is told of agents of other protocols: admission, and a port without TLS."""

from pathlib import Path

import pytest

from quarterdeck.embedded.bootstrap import Trust
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.service_process import ServiceProcess
from quarterdeck.embedded.services import GRPC_GATEWAY, QUIC_GATEWAY, Services, Surroundings, plain_name


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path)
    data_dir.create()
    return data_dir


def services(data_dir: DataDir, *, admit: bool) -> Services:
    pem = data_dir.pki / "pem"
    return Services(
        Surroundings(
            data_dir=data_dir,
            environ={},
            trust=Trust(pem, pem, pem, "token", "join", pem),
            nats_url="nats://127.0.0.1:1",
            redis_url="redis://127.0.0.1:1/0",
            log_level="info",
            admit_dialects=admit,
        )
    )


def environment(unit: ServiceProcess) -> dict[str, str]:
    return dict(unit.settings.launch().env)


def test_strangers_and_a_port_without_tls_are_off_by_default(data_dir: DataDir) -> None:
    """S1-28"""
    built = services(data_dir, admit=False)
    env = environment(built.grpc_gateway(GRPC_GATEWAY, 0))
    assert env["QD_GRPC_GATEWAY_ADMIT_DIALECTS"] == "false"
    assert not any("PLAIN" in name for name in env)
    assert plain_name(GRPC_GATEWAY) not in built.listeners


def test_both_gateways_admit_and_the_first_listens_without_tls_when_asked(data_dir: DataDir) -> None:
    """S1-28"""
    built = services(data_dir, admit=True)
    env = environment(built.grpc_gateway(GRPC_GATEWAY, 0, 0))
    plain = built.listeners[plain_name(GRPC_GATEWAY)]
    assert env["QD_GRPC_GATEWAY_ADMIT_DIALECTS"] == "true"
    assert (env["QD_GRPC_GATEWAY_PLAIN_PORT"], env["QD_GRPC_GATEWAY_PLAIN_PORT_FILE"]) == (
        "0",
        str(plain.port_file),
    )
    plain.port_file.write_text("4711\n")
    assert plain.learn()
    assert built.address(plain_name(GRPC_GATEWAY)) == "127.0.0.1:4711"
    assert environment(built.quic_gateway(QUIC_GATEWAY, 0))["QD_QUIC_GATEWAY_ADMIT_DIALECTS"] == "true"
