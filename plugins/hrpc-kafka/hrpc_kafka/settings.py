"""The settings of Kafka."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from hrpc.errors import InvalidConfig
from hrpc.queues.adapter import (
    BOOLEAN,
    PASSWORD,
    PATH,
    SECONDS,
    SERVERS,
    TEXT,
    Kind,
    Secret,
    Settings,
    integer,
    one_of,
    parsed,
    setting,
    told,
)

_PORT = 9092
"""That of Kafka's own configuration (https://kafka.apache.org/documentation/#brokerconfigs_listeners)."""


def _is_login(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key) or "", str) for key in ("username", "password"))


def _login(value: dict[str, Any]) -> dict[str, str]:
    return {"username": value.get("username") or "", "password": Secret(value.get("password") or "")}


_LOGIN = Kind("an object with the texts 'username' and 'password'", _is_login, _login, echo=False)


class KafkaOptions(TypedDict, total=False):
    """What ``kafka.new()`` takes; `KafkaSettings` has the defaults. Durations are in seconds."""

    brokers: str | list[str]
    username: str
    password: str
    sasl: Mapping[str, str]
    mechanism: str
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    client_id: str
    connect_timeout: float
    send_timeout: float
    session_timeout: float
    compression: str
    idempotent: bool
    linger: float
    max_message_bytes: int
    assignment: str


@dataclass(frozen=True, slots=True)
class KafkaSettings(Settings):
    """The settings of Kafka. Durations are in seconds."""

    brokers: str = setting(SERVERS)
    """Some brokers of the cluster, which know the others: ``"a,b:9093"`` or ``["a", "b:9093"]``; their port is 9092."""
    username: str | None = setting(TEXT, None)
    """With one, SASL is spoken."""
    password: str = setting(PASSWORD, "")
    sasl: Mapping[str, str] | None = setting(_LOGIN, None)
    """``{"username": …, "password": …}``, as the Go framework has it in Consul KV; `username` and `password` win."""
    mechanism: str = setting(one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "PLAIN")
    tls: bool = setting(BOOLEAN, False)
    """Whether to speak TLS; so it is with any of the following."""
    tls_ca: str | None = setting(PATH, None)
    """The authorities that vouch for the brokers' certificates; without it, those of the system."""
    tls_cert: str | None = setting(PATH, None)
    """The certificate that is shown to the brokers."""
    tls_key: str | None = setting(PATH, None)
    """The private key of `tls_cert`; it may be in the same file."""
    client_id: str | None = setting(TEXT, None)
    """What the brokers' logs and quotas call this client; the name of the server when not given."""
    connect_timeout: float = setting(SECONDS, 5.0)
    """For the first connection, when the server starts."""
    send_timeout: float = setting(SECONDS, 10.0)
    """For one message to be sent, with all repetitions and a change of the partition's leader."""
    session_timeout: float = setting(SECONDS, 10.0)
    """After which the group gives the partitions of a consumer that is not heard of any more to others. Brokers take
    6 to 1800 s unless they are configured otherwise."""
    compression: str = setting(one_of("none", "gzip", "snappy", "lz4", "zstd"), "none")
    """All but gzip need another package, for reading as well: ``pip install 'aiokafka[all]'``."""
    idempotent: bool = setting(BOOLEAN, True)
    """Whether repetitions of one sending are recognised by the brokers, which keeps order and doubles nothing."""
    linger: float = setting(SECONDS, 0.0)
    """How long a message waits for others that go along in one request."""
    max_message_bytes: int = setting(integer(1), 1024 * 1024)
    """How large a message may be; the brokers have a limit of their own."""
    assignment: str = setting(one_of("range", "roundrobin"), "range")
    """How a group shares partitions, on which all of its members have to agree; "range" is also the first choice of the
    clients for Java and Go."""

    @property
    def servers(self) -> list[str]:
        """The brokers that were given, each with its port."""
        return [told([server]) for server in parsed(self.brokers, _PORT) or ()]

    @property
    def place(self) -> str:
        """The brokers, for errors."""
        return f"kafka {','.join(self.servers)}"

    def connection(self, client_id: str) -> dict[str, Any]:
        """What producers and consumers of aiokafka take to connect. Raises `InvalidConfig`."""
        context = self._tls()
        login = self.sasl or {}
        username = self.username or login.get("username") or None
        password = self.password or login.get("password", "")
        security = ("SASL_" if username else "") + ("PLAINTEXT" if context is None else "SSL")
        return {
            "bootstrap_servers": self.servers,
            "client_id": self.client_id or client_id,
            "security_protocol": security,
            "ssl_context": context,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": username,
            # Its own methods, so that the text itself goes to the driver.
            "sasl_plain_password": str.__str__(password) if username else None,
        }

    def _tls(self) -> ssl.SSLContext | None:
        if not (self.tls or self.tls_ca or self.tls_cert or self.tls_key):
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_cert:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidConfig.because(self.origin, "tls_ca, tls_cert, tls_key", f"cannot be used: {error}") from error
        return context
