"""TLS to a database or a message queue: whom to trust, and what to show."""

from __future__ import annotations

import ssl
from contextlib import suppress

from hrpc.errors import CertificateError, DatabaseError, DatabaseRefused, QueueError
from hrpc.recipe.settings import Settings
from hrpc.tls.files import CertificateFiles, Contents, Paths


class Trust:
    """A context for connections, which follows its files: they are looked at when a connection is made."""

    def __init__(
        self,
        settings: Settings,
        ca: str | None,
        certificate: str | None,
        key: str | None,
        refused: type[DatabaseError | QueueError] = DatabaseRefused,
    ) -> None:
        """Reads the files. Raises `refused` when they cannot be used."""
        try:
            self._files = CertificateFiles(Paths(settings.origin, certificate, key, ca))
        except CertificateError as error:
            raise settings.fault(refused, f"{error}; check 'tls_ca', 'tls_cert' and 'tls_key'") from error
        self._used: Contents = self._files.now
        self._context = self._make()

    def context(self) -> ssl.SSLContext:
        """What to connect with now."""
        now = self._files.refresh()
        if now is not self._used:
            with suppress(OSError):  # they change once more at this moment: the next connection has what they hold then
                self._context, self._used = self._make(), now
        return self._context

    def _make(self) -> ssl.SSLContext:
        paths = self._files.paths
        context = ssl.create_default_context(cafile=paths.authority)
        if paths.public is not None:
            context.load_cert_chain(paths.public, paths.private)
        return context


def certificate_problem(error: BaseException) -> str | None:
    """What an error while connecting says about certificates or TLS; None when it is another one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return str(getattr(seen, "verify_message", "") or seen.reason or seen)
        seen = seen.__cause__ or seen.__context__
    return None
