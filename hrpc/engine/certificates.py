"""The server's certificates, read again when their files change."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import grpc
from loguru import logger

from hrpc.engine.validity import expires
from hrpc.errors import CertificateError
from hrpc.option import Certificates

EXPIRES_SOON = timedelta(days=7)
"""How long before its end a certificate is warned of."""

_OPTION = "hrpc.with_server_certs"
_Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What the files held at one moment: the certificate, its key, and the certificates that vouch for clients."""

    signature: _Signature
    public: bytes
    private: bytes = field(repr=False)
    client_ca: bytes | None
    expires: datetime

    def same_as(self, other: _Read) -> bool:
        return (self.public, self.private, self.client_ca) == (other.public, other.private, other.client_ca)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.private, self.public)], self.client_ca)


class CertificateFiles:
    """Certificates that follow their files. gRPC asks before each handshake, in threads of its own."""

    def __init__(self, paths: Certificates) -> None:
        """Reads the files. Raises `CertificateError`."""
        self._paths = paths
        self._lock = threading.Lock()
        self._now = self._read()
        self._refused: tuple[_Signature, str] | None = None
        self._untold = False
        """Whether gRPC has yet to be given what was read last."""
        _warn(self._now, paths.public)

    @property
    def expires(self) -> datetime:
        """Until when the certificate in use is valid."""
        return self._now.expires

    def credentials(self) -> grpc.ServerCredentials:
        """What a server is made to listen with."""
        clients_too = self._paths.client_ca is not None
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)  # None is "as before"
        return grpc.dynamic_ssl_server_credentials(self._now.configuration(), changed, clients_too)

    def reload(self) -> None:
        """Reads the files now, when they have changed. What is wrong with them is logged, and changes nothing."""
        with self._lock:
            self._refresh()

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            self._refresh()
            untold, self._untold = self._untold, False
            return self._now.configuration() if untold else None

    def _refresh(self) -> None:
        signature = self._signature()
        if signature == self._now.signature:
            self._refused = None
            return
        if self._refused is not None and signature == self._refused[0]:
            return
        before = self._now
        try:
            self._now = self._read()
        except CertificateError as error:
            self._refuse(signature, str(error))
            return
        self._refused = None
        if self._now.same_as(before):
            return
        self._untold = True
        logger.info("TLS: serves the new certificate of {!r}, {}", self._paths.public, _until(self._now))
        _warn(self._now, self._paths.public)

    def _refuse(self, signature: _Signature, problem: str) -> None:
        if self._refused is None or self._refused[1] != problem:
            logger.error("{}; the certificate before, {}, goes on serving", problem, _until(self._now))
        self._refused = signature, problem

    def _signature(self) -> _Signature:
        """Differs when a file has been written or replaced; symbolic links, which Kubernetes swaps, are followed."""
        found: list[object] = []
        for path in (self._paths.public, self._paths.private, self._paths.client_ca):
            if path is not None:
                try:
                    status = os.stat(path)
                except OSError as error:
                    found.append(error.errno)
                else:
                    found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _read(self) -> _Read:
        # Files that change meanwhile are read once more, so that what was checked is what is served.
        for last in (False, False, True):
            signature = self._signature()
            try:
                read = _read(self._paths, signature)
            except CertificateError:
                if last or self._signature() == signature:
                    raise
            else:
                if last or self._signature() == signature:
                    break
        return read


def _read(paths: Certificates, signature: _Signature) -> _Read:
    public, private = _bytes(paths.public), _bytes(paths.private)
    client_ca = None if paths.client_ca is None else _bytes(paths.client_ca)
    _check_pair(paths)
    if paths.client_ca is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(paths.client_ca)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{_OPTION}: {paths.client_ca!r} has no PEM certificate of an authority") from error
    try:
        return _Read(signature, public, private, client_ca, expires(public.decode()))
    except ValueError as error:
        raise CertificateError(f"{_OPTION}: {paths.public!r} is not a PEM certificate: {error}") from error


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"{_OPTION}: cannot read {path!r}: {error.strerror}") from error


def _check_pair(paths: Certificates) -> None:
    """gRPC takes any bytes and then fails every handshake."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(paths.public, paths.private, password=_no_password)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the private key {paths.private!r} does not fit the certificate {paths.public!r}"
        else:
            problem = f"{paths.public!r} and {paths.private!r} are not a PEM certificate and its private key"
        raise CertificateError(f"{_OPTION}: {problem}") from error


def _no_password() -> str:
    # Without this, OpenSSL would ask for it on the terminal.
    raise ValueError("the private key is encrypted")


def _until(read: _Read) -> str:
    return f"valid until {read.expires:%Y-%m-%d %H:%M} UTC"


def _warn(read: _Read, path: str) -> None:
    left = read.expires - datetime.now(UTC)
    if left < timedelta(0):
        logger.error(
            "TLS: the certificate {!r} has expired: {}; replace the file, it is read again", path, _until(read)
        )
    elif left < EXPIRES_SOON:
        logger.warning(
            "TLS: the certificate {!r} expires soon: {}; replace the file, it is read again", path, _until(read)
        )
