"""The certificates of a server. gRPC asks for them before each handshake, in threads of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from hrpc.option import Certificates
from hrpc.tls.files import CertificateFiles, Contents, Paths


class ServerCertificates:
    """Certificates to listen with, which follow their files."""

    def __init__(self, given: Certificates) -> None:
        """Reads the files. Raises `CertificateError`."""
        paths = Paths("hrpc.with_server_certs", given.public, given.private, given.client_ca)
        self.files = CertificateFiles(paths)
        self._told = self.files.now

    def credentials(self) -> grpc.ServerCredentials:
        """What a server is made to listen with."""
        asks_clients = self.files.paths.authority is not None
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)  # None is "as before"
        return grpc.dynamic_ssl_server_credentials(_configuration(self._told), changed, asks_clients)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        now = self.files.refresh()
        if now is self._told:
            return None
        self._told = now
        return _configuration(now)


def _configuration(contents: Contents) -> grpc.ServerCertificateConfiguration:
    assert contents.private is not None
    assert contents.public is not None
    return grpc.ssl_server_certificate_configuration([(contents.private, contents.public)], contents.authority)
