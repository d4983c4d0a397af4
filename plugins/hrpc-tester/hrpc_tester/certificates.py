"""The certificates of the server for its tester, which follow their files as those of the server do."""

from __future__ import annotations

import ssl
from typing import Any

from hrpc.tls.files import CertificateFiles


class Following:
    """A context of TLS for a listener."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._contents = files.now
        self._newest = _context(files)
        self.context = _context(files)
        """What to listen with: each handshake gets the newest certificate."""
        self.context.sni_callback = self._choose

    def _choose(self, connection: Any, _: str | None, __: ssl.SSLContext) -> None:
        contents = self._files.refresh()
        if contents is not self._contents:
            self._newest, self._contents = _context(self._files), contents
        connection.context = self._newest


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    paths = files.paths
    assert paths.public is not None
    context.load_cert_chain(paths.public, paths.private)
    if paths.authority is not None:
        context.load_verify_locations(paths.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
