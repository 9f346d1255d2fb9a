import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from quarterdeck.wire.pki import CertificateAuthority


def handshake(
    server_name: str, *, server: CertificateAuthority, trusted: CertificateAuthority, directory: Path
) -> None:
    """A TLS handshake over a socket pair. Raises ssl.SSLError when the client does not accept the server."""
    issued = server.issue_server(["gateway.example", "10.1.2.3"])
    (directory / "server.pem").write_bytes(issued.certificate_pem)
    (directory / "server.key").write_bytes(issued.key_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(directory / "server.pem", directory / "server.key")
    client_context = ssl.create_default_context(cadata=trusted.certificate_pem.decode())
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            server_context.wrap_socket(right, server_side=True).close()
        except OSError:
            right.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client_context.wrap_socket(left, server_hostname=server_name).close()
    finally:
        left.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "gateway.example", "10.1.2.3"])
def test_client_that_trusts_the_ca_accepts_its_servers(name: str, tmp_path: Path) -> None:
    authority = CertificateAuthority.create()

    handshake(name, server=authority, trusted=authority, directory=tmp_path)


def test_server_of_another_ca_or_name_is_refused(tmp_path: Path) -> None:
    authority, other = CertificateAuthority.create(), CertificateAuthority.create()

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake("localhost", server=other, trusted=authority, directory=tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake("elsewhere.example", server=authority, trusted=authority, directory=tmp_path)


def test_authority_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = CertificateAuthority.load_or_create(tmp_path / "pki")
    second = CertificateAuthority.load_or_create(tmp_path / "pki")

    assert first.certificate_der == second.certificate_der
    assert stat.S_IMODE((tmp_path / "pki" / "ca.key").stat().st_mode) == 0o600
    handshake("localhost", server=second, trusted=first, directory=tmp_path)
