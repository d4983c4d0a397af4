"""PEM files that are read again when they change."""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from loguru import logger

from hrpc.errors import CertificateError
from hrpc.tls.validity import expires

EXPIRES_SOON = timedelta(days=7)
"""How long before its end a certificate is warned of."""

_Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the files are. `option` is for errors: what they were given to."""

    option: str
    public: str | None
    private: str | None
    authority: str | None

    def all(self) -> list[str]:
        """Those that there are."""
        return [path for path in (self.public, self.private, self.authority) if path is not None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files held at one moment: the certificate, its key, and the certificates that vouch for the others."""

    public: bytes | None
    private: bytes | None = field(repr=False)
    authority: bytes | None
    expires: datetime | None
    """Until when the certificate is valid; None without one."""


class CertificateFiles:
    """The newest contents that can be used; safe to use from several threads."""

    def __init__(self, paths: Paths) -> None:
        """Reads the files. Raises `CertificateError`."""
        self.paths = paths
        self._lock = threading.Lock()
        self._refused: tuple[_Signature, str] | None = None
        self._signature, self.now = _read(paths)
        self._warned: Literal["", "expires soon", "has expired"] = ""
        self._warn()

    def refresh(self) -> Contents:
        """Reads the files again when they have changed; gives what is to be used now.

        What is wrong with them is logged, once, and changes nothing.
        """
        with self._lock:
            signature = _signature(self.paths)
            if signature == self._signature:
                self._refused = None
            elif self._refused is None or signature != self._refused[0]:
                self._read_again(signature)
            self._warn()
            return self.now

    def _read_again(self, signature: _Signature) -> None:
        try:
            self._signature, contents = _read(self.paths)
        except CertificateError as error:
            if self._refused is None or self._refused[1] != str(error):
                logger.error("{}; what was read before goes on being used{}", error, _until(self.now))
            self._refused = signature, str(error)
            return
        self._refused = None
        if contents == self.now:
            return
        self.now = contents
        logger.info("TLS: {} have changed and are used{}", " and ".join(map(repr, self.paths.all())), _until(contents))
        self._warned = ""

    def _warn(self) -> None:
        if self.now.expires is None:
            return
        left = self.now.expires - datetime.now(UTC)
        if left >= EXPIRES_SOON:
            return
        word: Literal["expires soon", "has expired"] = "expires soon" if left > timedelta(0) else "has expired"
        if word != self._warned:
            self._warned = word
            logger.log(
                "WARNING" if word == "expires soon" else "ERROR",
                "TLS: the certificate {!r} {}{}; replace the file, it is read again",
                self.paths.public,
                word,
                _until(self.now),
            )


def _signature(paths: Paths) -> _Signature:
    """Differs when a file has been written or replaced; symbolic links, which Kubernetes swaps, are followed."""
    found: list[object] = []
    for path in paths.all():
        try:
            status = os.stat(path)
        except OSError as error:
            found.append(error.errno)
        else:
            # The time of a change of any kind as well: also of permissions, and where the one of writing is set back.
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


def _read(paths: Paths) -> tuple[_Signature, Contents]:
    # Files that change meanwhile are read once more, so that what was checked is what is used.
    for last in (False, False, True):
        signature = _signature(paths)
        try:
            contents = _contents(paths)
        except CertificateError:
            if last or _signature(paths) == signature:
                raise
        else:
            if last or _signature(paths) == signature:
                break
    return signature, contents


def _contents(paths: Paths) -> Contents:
    public, private, authority = (_bytes(paths, path) for path in (paths.public, paths.private, paths.authority))
    _check_pair(paths)
    if paths.authority is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(paths.authority)
        except (OSError, ValueError) as error:
            problem = f"{paths.authority!r} has no PEM certificate of an authority"
            raise CertificateError(f"{paths.option}: {problem}") from error
    try:
        return Contents(public, private, authority, None if public is None else expires(public.decode()))
    except ValueError as error:
        raise CertificateError(f"{paths.option}: {paths.public!r} is not a PEM certificate: {error}") from error


def _bytes(paths: Paths, path: str | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"{paths.option}: cannot read {path!r}: {error.strerror}") from error


def _check_pair(paths: Paths) -> None:
    """gRPC takes any bytes and then fails every handshake."""
    if paths.public is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(paths.public, paths.private, password=_no_password)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the private key {paths.private!r} does not fit the certificate {paths.public!r}"
        else:
            problem = f"{paths.public!r} and {paths.private!r} are not a PEM certificate and its private key"
        raise CertificateError(f"{paths.option}: {problem}") from error


def _no_password() -> str:
    # Without this, OpenSSL would ask for it on the terminal.
    raise ValueError("the private key is encrypted")


def _until(contents: Contents) -> str:
    return "" if contents.expires is None else f", valid until {contents.expires:%Y-%m-%d %H:%M} UTC"
