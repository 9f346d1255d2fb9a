"""The six services as child processes: which module, which environment, when ready.

Owns the names in the ready file's pids and the `QD_…` variables that each service is given. Starts nothing itself.
Called by system.py.
"""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from quarterdeck.embedded import probe
from quarterdeck.embedded.bootstrap import Trust
from quarterdeck.embedded.layout import DataDir
from quarterdeck.embedded.listener import Listener
from quarterdeck.embedded.service_process import Launch, ProcessSettings, ServiceProcess

API: Final = "api"
DISPATCHER: Final = "dispatcher"
AGGREGATOR: Final = "aggregator"
BROADCASTER: Final = "broadcaster"
QUIC_GATEWAY: Final = "quic-gateway"
GRPC_GATEWAY: Final = "grpc-gateway"

_LOOPBACK: Final = "127.0.0.1"
_READY_PATH: Final = "/health/ready"
_MAX_SOCKET_PATH_BYTES: Final = 100
"""A Unix socket's path has at most 107 bytes. Source: unix(7)."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all services of one system share."""

    data_dir: DataDir
    environ: Mapping[str, str]
    trust: Trust
    nats_url: str
    redis_url: str
    log_level: str
    admit_dialects: bool = False


class Services:
    """Builds the units. `listeners` holds the addresses of those that others connect to, by name."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self.listeners: dict[str, Listener] = {}
        self._broadcaster_socket = _socket_path(surroundings.data_dir)

    def api(self, port: int) -> ServiceProcess:
        listener = self._listener(API, port)
        return self._unit(
            API,
            "quarterdeck.api",
            lambda: {
                **_bound("QD_API", listener),
                "QD_API_CA_PATH": str(self._around.trust.ca),
                "QD_API_BROADCASTER_URL": f"unix://{self._broadcaster_socket}",
            },
            listener,
            lambda: _answers(f"http://{_LOOPBACK}:{listener.port}{_READY_PATH}"),
        )

    def broadcaster(self) -> ServiceProcess:
        """Listens on a Unix socket: the api forwards to it, and nobody else may."""
        socket = self._broadcaster_socket
        return self._unit(
            BROADCASTER,
            "quarterdeck.broadcaster",
            lambda: {"QD_BROADCASTER_UNIX_SOCKET": str(socket)},
            None,
            lambda: _answers(f"http://{_LOOPBACK}{_READY_PATH}", socket),
        )

    def dispatcher(self) -> ServiceProcess:
        return self._headless(DISPATCHER, "quarterdeck.dispatcher")

    def aggregator(self) -> ServiceProcess:
        return self._headless(AGGREGATOR, "quarterdeck.aggregator")

    def quic_gateway(self, name: str, port: int) -> ServiceProcess:
        return self._gateway(name, "quarterdeck.quic_gateway", "QD_QUIC_GATEWAY", port)

    def grpc_gateway(self, name: str, port: int, plain_port: int | None = None) -> ServiceProcess:
        """`plain_port`: of a second port without TLS, 0 for a free one; its listener is `plain_name(name)`."""
        plain = None if plain_port is None else self._listener(plain_name(name), plain_port)
        return self._gateway(name, "quarterdeck.grpc_gateway", "QD_GRPC_GATEWAY", port, plain)

    def address(self, name: str) -> str:
        """`host:port` of a started listener."""
        return f"{_LOOPBACK}:{self.listeners[name].port}"

    def _gateway(
        self, name: str, module: str, prefix: str, port: int, plain: Listener | None = None
    ) -> ServiceProcess:
        listener, health = self._listener(name, port), self._health(name)
        trust = self._around.trust

        async def healthy() -> bool:
            return (plain is None or plain.learn()) and await _healthy(health)

        return self._unit(
            name,
            module,
            lambda: {
                **_bound(prefix, listener),
                **(_plainly_bound(prefix, plain) if plain is not None else {}),
                f"{prefix}_CERT": str(trust.gateway_cert),
                f"{prefix}_KEY": str(trust.gateway_key),
                f"{prefix}_ADMIT_DIALECTS": "true" if self._around.admit_dialects else "false",
                **_health_file(health),
            },
            listener,
            healthy,
        )

    def _headless(self, name: str, module: str) -> ServiceProcess:
        health = self._health(name)
        return self._unit(name, module, lambda: _health_file(health), None, lambda: _healthy(health))

    def _unit(
        self,
        name: str,
        module: str,
        own: Callable[[], Mapping[str, str]],
        listener: Listener | None,
        healthy: Callable[[], Awaitable[bool]],
    ) -> ServiceProcess:
        async def ready() -> bool:
            return (listener is None or listener.learn()) and await healthy()

        def launch() -> Launch:
            if listener is not None:
                listener.forget_file()
            return Launch(argv=(module,), env={**self._common(name), **own()}, ready=ready)

        return ServiceProcess(
            ProcessSettings(
                name=name,
                cwd=self._around.data_dir.run,
                log_path=self._around.data_dir.log(name),
                launch=launch,
            )
        )

    def _common(self, name: str) -> dict[str, str]:
        around = self._around
        return {
            **around.environ,
            "PYTHONUNBUFFERED": "1",  # a killed service has written its last words
            "QD_NATS_URL": around.nats_url,
            "QD_REDIS_URL": around.redis_url,
            "QD_SERVICE_ID": name,
            "QD_DATA_DIR": str(around.data_dir.run / name),
            "QD_LOG_FORMAT": "json",
            "QD_LOG_LEVEL": around.log_level,
        }

    def _listener(self, name: str, port: int) -> Listener:
        self.listeners[name] = Listener(self._around.data_dir.port_file(name), port)
        return self.listeners[name]

    def _health(self, name: str) -> Listener:
        return Listener(self._around.data_dir.port_file(f"{name}-health"))


def plain_name(gateway: str) -> str:
    """The name of a gateway's listener without TLS."""
    return f"{gateway}-plain"


def _bound(prefix: str, listener: Listener) -> dict[str, str]:
    return {
        f"{prefix}_HOST": _LOOPBACK,
        f"{prefix}_PORT": str(listener.port),
        f"{prefix}_PORT_FILE": str(listener.port_file),
    }


def _plainly_bound(prefix: str, plain: Listener) -> dict[str, str]:
    plain.forget_file()
    return {
        f"{prefix}_PLAIN_PORT": str(plain.port),
        f"{prefix}_PLAIN_PORT_FILE": str(plain.port_file),
    }


def _health_file(health: Listener) -> dict[str, str]:
    health.forget_file()
    return {"QD_HTTP_PORT_FILE": str(health.port_file)}


async def _healthy(health: Listener) -> bool:
    return health.learn() and await _answers(f"http://{_LOOPBACK}:{health.port}{_READY_PATH}")


async def _answers(url: str, unix_socket: Path | None = None) -> bool:
    answer = await probe.get(url, unix_socket=unix_socket)
    return answer is not None and answer.status == 200


def _socket_path(data_dir: DataDir) -> Path:
    path = data_dir.run / "broadcaster.sock"
    if len(str(path).encode()) <= _MAX_SOCKET_PATH_BYTES:
        return path
    # Removed with the data directory's owner at the latest; the name is in run/, so a restart finds it again.
    link = data_dir.run / "sockets"
    if not link.is_dir():
        link.unlink(missing_ok=True)
        link.symlink_to(tempfile.mkdtemp(prefix="quarterdeck-"))
    return link.readlink() / "broadcaster.sock"
