"""How an instance is connected to: as its entry in the registry says, and as the options allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import grpc
import grpc.aio

from hrpc.abc import KEEPALIVE_META, Instance
from hrpc.engine.arguments import milliseconds
from hrpc.option import Keepalive, Settings

if TYPE_CHECKING:
    from hrpc.tls.client import ClientCredentials
    from hrpc.tls.files import CertificateFiles

GRPC_MINIMUM = 300.0
"""Seconds that a server of gRPC wants between two pings, and only while a call runs, when it is told nothing else
(https://github.com/grpc/grpc/blob/master/doc/keepalive.md)."""

MARGIN = 1.5
"""How much longer than the server's minimum the time between two pings is: they arrive less evenly than they leave."""


class Dial(NamedTuple):
    """What has to be known of an instance to connect to it; instances that agree in it share a connection."""

    endpoint: str
    service: str
    tls: bool
    """Whether it has registered as serving TLS."""
    ping_minimum: float | None
    """Seconds that it wants between two pings; None when it has not said."""

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """As its entry in the registry says."""
        meta = instance.meta
        return cls(
            instance.endpoint, instance.name, meta.get("protocol") == "grpcs", _seconds(meta.get(KEEPALIVE_META))
        )

    def arguments(self, keepalive: Keepalive) -> list[tuple[str, Any]]:
        """The arguments of its channel."""
        known = self.ping_minimum is not None
        minimum = GRPC_MINIMUM if self.ping_minimum is None else self.ping_minimum
        return [
            # An instance is inside the network; a proxy from the environment is for what lies outside.
            ("grpc.enable_http_proxy", 0),
            # Also where pings are rare: with it the kernel gives up on a peer that has taken no byte for 20 s.
            ("grpc.keepalive_time_ms", milliseconds(max(keepalive.time, MARGIN * minimum))),
            ("grpc.http2.ping_timeout_ms", milliseconds(keepalive.timeout)),
            ("grpc.keepalive_permit_without_calls", int(known and keepalive.permit_without_stream)),
            ("grpc.http2.max_pings_without_data", 0),
        ]


class Dialer:
    """Makes the channels of one running server."""

    def __init__(self, settings: Settings) -> None:
        """Raises `CertificateError`."""
        certificates = settings.client_certificates
        self._keepalive = settings.keepalive
        self._limits = [
            ("grpc.max_receive_message_length", settings.message_limits.receive),
            ("grpc.max_send_message_length", settings.message_limits.send),
        ]
        self._name = "{service}" if certificates is None else certificates.name
        self._always = certificates is not None and not certificates.allow_plain
        self._own: ClientCredentials | None = None
        if certificates is not None:
            from hrpc.tls.client import ClientCredentials

            self._own = ClientCredentials(certificates)
        self._warned: set[str] = set()

    @property
    def files(self) -> CertificateFiles | None:
        """The files that are followed; None without any."""
        return None if self._own is None else self._own.files

    def refresh(self) -> bool:
        """Whether new channels are other ones than before, because files have changed."""
        if self._own is None:
            return False
        before = self._own.newest
        self._own.refresh()
        return self._own.newest is not before

    def channel(self, dial: Dial) -> grpc.aio.Channel:
        """A channel to an instance."""
        arguments = dial.arguments(self._keepalive) + self._limits
        if not (dial.tls or self._always):
            return grpc.aio.insecure_channel(dial.endpoint, arguments)
        # It is dialled by its address, and has a certificate for its name.
        arguments.append(("grpc.ssl_target_name_override", self._name.replace("{service}", dial.service)))
        return grpc.aio.secure_channel(dial.endpoint, self._credentials(dial.service), arguments)

    def _credentials(self, service: str) -> grpc.ChannelCredentials:
        if self._own is not None:
            return self._own.newest
        if service not in self._warned:
            from loguru import logger

            self._warned.add(service)
            logger.warning(
                "service {!r} serves TLS, and its certificate is checked against public authorities; where an "
                "authority of your own has signed it, pass hrpc.with_client_certs(ca=…)",
                service,
            )
        return grpc.ssl_channel_credentials()


def _seconds(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None
