"""The settings of RabbitMQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.queues.adapter import (
    BOOLEAN,
    PASSWORD,
    PATH,
    SECONDS,
    SERVERS,
    TEXT,
    Server,
    Settings,
    integer,
    parsed,
    setting,
    told,
)

_PORT, _TLS_PORT = 5672, 5671
"""https://www.iana.org/assignments/service-names-port-numbers: amqp and amqps."""


class RabbitOptions(TypedDict, total=False):
    """What ``rabbitmq.new()`` takes; `RabbitSettings` has the defaults. Durations are in seconds."""

    address: str | list[str]
    port: int
    username: str
    password: str
    vhost: str
    heartbeat: int
    connect_timeout: float
    publish_timeout: float
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str


@dataclass(frozen=True, slots=True)
class RabbitSettings(Settings):
    """The settings of RabbitMQ. Durations are in seconds."""

    address: str = setting(SERVERS)
    """The server, or the nodes of a cluster, of which one is used: ``"a,b:5673"`` or ``["a", "b:5673"]``."""
    port: int | None = setting(integer(1, 65535), None)
    """That of each node whose address has none; 5672 when not given, and 5671 with TLS."""
    username: str = setting(TEXT, "guest")
    """RabbitMQ's own default, which it lets in from its own machine only."""
    password: str = setting(PASSWORD, "guest")
    vhost: str = setting(TEXT, "/")
    """The virtual host, in which queues and exchanges have their names."""
    heartbeat: int = setting(integer(1, 3600), 10)
    """A broker that has said nothing for three times as long counts as away."""
    connect_timeout: float = setting(SECONDS, 5.0)
    """To connect to one node and log in."""
    publish_timeout: float = setting(SECONDS, 5.0)
    """To publish one message, with waiting for a broker that is away."""
    tls: bool = setting(BOOLEAN, False)
    """Whether to speak TLS; so it is with any of the following."""
    tls_ca: str | None = setting(PATH, None)
    """The authorities that vouch for the server's certificate, which has to be made out to `address`; without it, those
    of the system."""
    tls_cert: str | None = setting(PATH, None)
    """The certificate that is shown to the server."""
    tls_key: str | None = setting(PATH, None)
    """The private key of `tls_cert`; it may be in the same file."""

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls or any((self.tls_ca, self.tls_cert, self.tls_key))

    @property
    def servers(self) -> list[Server]:
        """Where to connect to, in the order in which they are tried."""
        return parsed(self.address, self.port or (_TLS_PORT if self.uses_tls else _PORT)) or []

    @property
    def place(self) -> str:
        """The servers and the virtual host, for errors."""
        return f"rabbitmq {told(self.servers)} vhost {self.vhost!r}"
