"""Certificates."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hrpc.errors import OptionError
from hrpc.option.settings import Certificates, ClientCertificates, Option

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
    certificates = Certificates(**_checked("hrpc.with_server_certs", paths))
    return Option("with_server_certs", {"certificates": certificates})


def with_client_certs(
    ca: _Path,
    public: _Path | None = None,
    private: _Path | None = None,
    *,
    name: str = "{service}",
    allow_plain: bool = False,
) -> Option:
    """Call other services over TLS: ``service.channel`` takes only instances whose certificate `ca` vouches for.

    `public` and `private` are the certificate and the key that this service shows to them (mTLS). Instances are found
    by their address, so what their certificates have to be made out to is `name`, where ``{service}`` stands for the
    name of the service: ``"{service}.internal"``. Instances that have not registered as serving TLS are called over TLS
    as well, so that nobody can talk a caller out of it; with `allow_plain` they are called in plain text, while a fleet
    moves to TLS.

    The files are read again when they change, within a minute, and on SIGHUP; calls that run then go on. Raises
    `OptionError`; the start raises `CertificateError` for files that cannot be used.
    """
    option = "hrpc.with_client_certs"
    if (public is None) != (private is None):
        raise OptionError(f"{option}(public=…, private=…): give both or none")
    if not isinstance(name, str) or not name:
        raise OptionError(f'{option}(name={name!r}): takes a name such as "{{service}}.internal"')
    if not isinstance(allow_plain, bool):
        raise OptionError(f"{option}(allow_plain={allow_plain!r}): takes True or False")
    paths = {"ca": ca} | ({} if public is None or private is None else {"public": public, "private": private})
    certificates = ClientCertificates(**_checked(option, paths), name=name, allow_plain=allow_plain)
    return Option("with_client_certs", {"client_certificates": certificates})


def _checked(option: str, paths: Mapping[str, _Path]) -> dict[str, str]:
    for name, path in paths.items():
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise OptionError(f"{option}({name}={path!r}): takes the path of a PEM file")
    return {name: os.fspath(path) for name, path in paths.items()}
