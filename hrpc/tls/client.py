"""The certificates by which other services are verified, and the one that is shown to them."""

from __future__ import annotations

import grpc

from hrpc.option import ClientCertificates
from hrpc.tls.files import CertificateFiles, Contents, Paths


class ClientCredentials:
    """Credentials to connect with, which follow their files."""

    def __init__(self, given: ClientCertificates) -> None:
        """Reads the files. Raises `CertificateError`."""
        self.files = CertificateFiles(Paths("hrpc.with_client_certs", given.public, given.private, given.ca))
        self._contents = self.files.now
        self.newest = _credentials(self._contents)
        """What to connect with now; another object when the files have changed."""

    def refresh(self) -> None:
        """Reads the files again when they have changed."""
        contents = self.files.refresh()
        if contents is not self._contents:
            self._contents = contents
            self.newest = _credentials(contents)


def _credentials(contents: Contents) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(contents.authority, contents.private, contents.public)
