"""Certificates for tests, and an authority that signs them."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates; `path` is its own one."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates
        certificate = self._builder(self._name, self._key, timedelta(days=100)).add_extension(constraints, True)
        certificate = certificate.add_extension(usage, True)
        self.path = folder / f"{name}.pem"
        self.pem = certificate.sign(self._key, hashes.SHA256()).public_bytes(PEM)
        self.path.write_bytes(self.pem)

    def sign(self, name: str, valid: timedelta = timedelta(days=30)) -> tuple[bytes, bytes]:
        """A certificate for `name` and for 127.0.0.1, and its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._builder(_name(name), key, valid).add_extension(names, False)
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        signed = certificate.sign(self._key, hashes.SHA256())
        return signed.public_bytes(PEM), key.private_bytes(PEM, pkcs8, plain)

    def write(self, folder: Path, name: str, valid: timedelta = timedelta(days=30)) -> tuple[Path, Path]:
        """The same as files in `folder`, tls.crt and tls.key as Kubernetes calls them."""
        paths = folder / "tls.crt", folder / "tls.key"
        folder.mkdir(exist_ok=True)
        for path, pem in zip(paths, self.sign(name, valid), strict=True):
            path.write_bytes(pem)
        return paths

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        # Python 3.13 takes no certificate without these.
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        its = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, now + valid) - timedelta(days=1))
            .not_valid_after(now + valid)
            .add_extension(ours, False)
            .add_extension(its, False)
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
