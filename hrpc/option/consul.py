"""Where Consul is, from the code and from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from hrpc.errors import OptionError

DEFAULT_ADDRESS = "127.0.0.1:8500"

# https://developer.hashicorp.com/consul/api-docs/namespaces#name
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?", re.ASCII)

# https://developer.hashicorp.com/consul/docs/agent/config/config-files#datacenter
_DATACENTER = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consul:
    """Where Consul is. The token never appears in a repr.

    `address` is ``host:port``, ``http://host:port``, ``https://host:port`` or ``unix:///path``. `token_file` is read
    again when it changes. `prefix` replaces the environment at the front of every KV key. `timeout` is in seconds and
    holds for each request. `ca_cert` is a file, or a folder of files, with the authorities that are trusted;
    `tls_server_name` is the name that Consul's certificate has, when it is not that of the address. `namespace` and
    `partition`, of Consul Enterprise, are sent with every request.

    `fail_fast` says what a start does that Consul does not answer: None fails, unless a snapshot is there to start from
    (see `hrpc.with_snapshot`); True fails; False starts in any case, and registers when Consul answers.

    ``CONFIGS_ADDR``, ``CONFIGS_TOKEN`` and ``CONFIGS_DATACENTER``, when not empty, win over what is given here;
    Consul's own ``CONSUL_HTTP_ADDR``, ``CONSUL_HTTP_TOKEN``, ``CONSUL_HTTP_TOKEN_FILE``, ``CONSUL_HTTP_SSL``,
    ``CONSUL_CACERT``, ``CONSUL_CAPATH``, ``CONSUL_CLIENT_CERT``, ``CONSUL_CLIENT_KEY``, ``CONSUL_TLS_SERVER_NAME``,
    ``CONSUL_NAMESPACE`` and ``CONSUL_PARTITION`` stand in for what neither gives
    (https://developer.hashicorp.com/consul/commands#environment-variables). Certificates are always verified.
    """

    address: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    datacenter: str | None = None
    prefix: str | None = None
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    timeout: float = 5.0
    tls_server_name: str | None = None
    namespace: str | None = None
    partition: str | None = None
    fail_fast: bool | None = None

    def __post_init__(self) -> None:
        if self.address is not None:
            _url(self.address)
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise OptionError(f"Consul(timeout={self.timeout!r}): takes seconds above 0")
        if (self.client_cert is None) != (self.client_key is None):
            raise OptionError("Consul(client_cert=…, client_key=…): give both or none")
        if self.prefix is not None and any(part in ("", ".", "..") for part in self.prefix.split("/")):
            raise OptionError(f"Consul(prefix={self.prefix!r}): takes a KV path, names between single slashes")
        if self.datacenter is not None and not _DATACENTER.fullmatch(self.datacenter):
            raise OptionError(
                f"Consul datacenter {self.datacenter!r}: takes letters, digits, hyphens and underscores "
                "(from Consul(datacenter=…) or CONFIGS_DATACENTER)"
            )
        for name, value in (("namespace", self.namespace), ("partition", self.partition)):
            if value is not None and not _NAME.fullmatch(value):
                raise OptionError(
                    f"Consul({name}={value!r}): takes 1 to 64 letters, digits and hyphens, without a hyphen at its ends"
                )
        if self.fail_fast not in (None, True, False):
            raise OptionError(f"Consul(fail_fast={self.fail_fast!r}): takes True, False or None")

    @property
    def url(self) -> str:
        """The address as a URL: its scheme is http, https or unix."""
        return _url(self.address or DEFAULT_ADDRESS)


def _url(address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
        address = address.rpartition("@")[2]
    if "@" in parts.netloc:
        raise OptionError("Consul address: takes no user and password; give a token instead, Consul(token=…)")
    if parts.scheme == "unix" and parts.path:
        return url
    is_url = parts.scheme in ("http", "https") and not parts.path.strip("/") and not re.search(r"\s", address)
    if not is_url or not host or port == 0:
        raise OptionError(
            f"Consul address {address!r}: takes host:port, http://host:port, https://host:port or unix:///path "
            "(from Consul(address=…), CONFIGS_ADDR or CONSUL_HTTP_ADDR)"
        )
    return f"{parts.scheme}://{parts.netloc}"


def from_environment(consul: Consul | None, environ: Mapping[str, str]) -> Consul | None:
    """Lays the environment variables over and under what the code gives; None when Consul is not wanted at all."""
    given = {name: environ.get(name) or None for name in ("CONFIGS_ADDR", "CONFIGS_TOKEN", "CONFIGS_DATACENTER")}
    if consul is None:
        if given["CONFIGS_ADDR"] is None:
            return None
        consul = Consul()
    standard = environ.get("CONSUL_HTTP_ADDR") or None
    if standard and "://" not in standard and environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true"):
        standard = f"https://{standard}"
    token = given["CONFIGS_TOKEN"] or consul.token
    token_file = consul.token_file if token is None else None
    if token is None and token_file is None:
        token, token_file = environ.get("CONSUL_HTTP_TOKEN") or None, environ.get("CONSUL_HTTP_TOKEN_FILE") or None
    return replace(
        consul,
        address=given["CONFIGS_ADDR"] or consul.address or standard or DEFAULT_ADDRESS,
        token=token,
        token_file=token_file,
        datacenter=given["CONFIGS_DATACENTER"] or consul.datacenter,
        ca_cert=consul.ca_cert or environ.get("CONSUL_CACERT") or environ.get("CONSUL_CAPATH") or None,
        client_cert=consul.client_cert or environ.get("CONSUL_CLIENT_CERT") or None,
        client_key=consul.client_key or environ.get("CONSUL_CLIENT_KEY") or None,
        tls_server_name=consul.tls_server_name or environ.get("CONSUL_TLS_SERVER_NAME") or None,
        namespace=consul.namespace or environ.get("CONSUL_NAMESPACE") or None,
        partition=consul.partition or environ.get("CONSUL_PARTITION") or None,
    )
