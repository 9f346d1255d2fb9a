"""The deployment's own certificate authority: makes the CA and the gateways' server certificates.

ECDSA P-256, SHA-256. Used by the embedded system at first start and by tests; who brings certificates of
their own needs none of it. Agents verify gateways against this CA, and prove themselves by their key
(identity.py), not by a certificate.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
"""In every server certificate."""

_CA_LIFE: Final = dt.timedelta(days=3650)
_SERVER_LIFE: Final = dt.timedelta(days=397)
"""The longest that browsers accept. Source: CA/Browser Forum ballot SC31."""
_CLOCK_SKEW: Final = dt.timedelta(hours=1)
"""Certificates begin this much early, for machines whose clocks run late."""


class ServerCertificate(NamedTuple):
    certificate_pem: bytes
    """The certificate, then its CA."""
    key_pem: bytes


class CertificateAuthority:
    """A CA certificate and the key that signs with it."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str = "Quarterdeck CA") -> "CertificateAuthority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), _CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load_or_create(cls, directory: Path) -> "CertificateAuthority":
        """The CA in `directory` (ca.pem, and ca.key with mode 0600), made there when ca.pem is missing."""
        certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
        if certificate_path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise TypeError(f"{key_path} holds no elliptic-curve key")
            return cls(x509.load_pem_x509_certificate(certificate_path.read_bytes()), key)
        authority = cls.create()
        directory.mkdir(parents=True, exist_ok=True)
        write_private(
            key_path, _key_pem(authority._key)
        )  # first the key: a certificate without one is useless
        certificate_path.write_bytes(authority.certificate_pem)
        return authority

    @property
    def certificate_pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def certificate_der(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.DER)

    def issue_server(self, names: Iterable[str] = ()) -> ServerCertificate:
        """A certificate for LOCAL_NAMES and `names` (DNS names or IP addresses), with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Quarterdeck gateway")])
        alternatives = [_general_name(name) for name in dict.fromkeys((*LOCAL_NAMES, *names))]
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key(), _SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return ServerCertificate(
            certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_pem, _key_pem(key)
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a secret that only the owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
