"""Which server, and with which token: from flags, from the environment, or from the embedded system on this machine.

Owns the order of these three. Every verb that talks to a server takes `Server` as its first parameters. Cyclopts fills
the environment's variables in, so nothing here reads it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from cyclopts import Group, Parameter

from quarterdeck.cli.errors import NoServer, UsageError

CONNECTION = Group("Connection", sort_key=90)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Server:
    """Flags that every verb shares."""

    url: Annotated[str | None, Parameter(env_var="QD_URL", group=CONNECTION)] = None
    """Address of the API, such as http://127.0.0.1:8080."""

    token: Annotated[str | None, Parameter(env_var="QD_TOKEN", group=CONNECTION)] = None
    """Bearer token; better in QD_TOKEN, or in a file given as @PATH, than on a command line that others can read."""

    data_dir: Annotated[Path | None, Parameter(env_var="QD_DATA_DIR", group=CONNECTION)] = None
    """Data directory of a local `quarterdeck up`, which knows both."""

    def resolve(self) -> "Connection":
        """Raises NoServer, UsageError, DecodeError. A variable that is set to nothing is one that is not set."""
        token = _from_file(self.token) if self.token and self.token.startswith("@") else self.token or None
        given = _checked(self.url) if self.url else None
        if given is not None and token is not None:
            return Connection(given, token, "flags or environment")
        local = self._embedded()
        if local is None:
            if given is not None:
                return Connection(given, None, "flags or environment")
            raise NoServer("no server: start one with `qd up`, or give --url and --token (QD_URL, QD_TOKEN)")
        url = given or local.url
        # The embedded system's token belongs to its own address; it is not sent anywhere else.
        own_token = local.token if url == local.url else None
        return Connection(url, token or own_token, local.source)

    def _embedded(self) -> "Connection | None":
        from quarterdeck.embedded import ready_file
        from quarterdeck.embedded.layout import DataDir, default_data_dir

        path = DataDir.at(self.data_dir or default_data_dir()).ready_file
        system = ready_file.read(path)
        return None if system is None else Connection(system.api, system.token, str(path))


ANY_SERVER: Final = Server()
"""Wherever the environment or the data directory points."""


@dataclass(frozen=True)
class Connection:
    url: str
    token: str | None
    source: str
    """Where it came from, for `doctor`."""


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        whole = False
    if not whole:
        raise UsageError(f"{url!r} is no address of a server; write http://host:port")
    return url


def _from_file(token: str) -> str:
    try:
        return Path(token[1:]).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoServer(f"--token {token}: {error.strerror}") from error
