"""Certificates."""

from __future__ import annotations

import os

from hrpc.errors import OptionError
from hrpc.option.settings import Certificates, Option

_Path = str | os.PathLike[str]


def with_server_certs(public: _Path, private: _Path, client_ca: _Path | None = None) -> Option:
    """Serve TLS with these PEM files: the certificate (with its chain), and its private key.

    With `client_ca`, the certificates of an authority, only clients that show one of its certificates are let in
    (mTLS); ``context.auth_context()`` and ``context.peer_identities()`` tell a handler who they are.

    The files are read again when they change and on SIGHUP, for connections that begin then. A new pair that cannot be
    used is reported in the log, and the one before goes on serving. So is one that expires within 7 days. Raises
    `OptionError`; the start raises `CertificateError` for files that cannot be used.
    """
    paths = {"public": public, "private": private} | ({} if client_ca is None else {"client_ca": client_ca})
    for name, path in paths.items():
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise OptionError(f"hrpc.with_server_certs({name}={path!r}): takes the path of a PEM file")
    certificates = Certificates(**{name: os.fspath(path) for name, path in paths.items()})
    return Option("with_server_certs", {"certificates": certificates})
