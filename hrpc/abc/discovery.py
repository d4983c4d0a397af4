"""Finding services, and following what a source says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


KEEPALIVE_META = "keepalive"
"""The key of an instance's meta that says how many seconds it wants between two pings of a client."""

VERSION_META = "version"
"""The key of an instance's meta that says which version it is."""

ZONE_META = "zone"
"""The key of an instance's meta that says in which part of its datacenter it runs."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service, as a registry knows it."""

    id: str
    name: str
    address: str
    port: int
    weight: int = 1
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    datacenter: str = ""

    @property
    def endpoint(self) -> str:
        """``host:port``, with an IPv6 address in brackets."""
        return endpoint(self.address, self.port)

    @property
    def zone(self) -> str:
        """The part of the datacenter it runs in; empty when it has not said."""
        return self.meta.get(ZONE_META, "")

    @property
    def version(self) -> str | None:
        """The version it has registered; None when it has not said."""
        return self.meta.get(VERSION_META)


def endpoint(host: str, port: int) -> str:
    """``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local(host: str) -> str:
    """The address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


class Selection(NamedTuple):
    """Which instances of a service are wanted; two that are equal are followed once."""

    name: str
    tags: tuple[str, ...] = ()
    """All of which an instance has to have."""
    version: str | None = None
    """Its version; None for any."""
    datacenters: tuple[str, ...] = ()
    """Where to look, in order of preference: the next one counts while those before it have no instance that is well.
    Empty for the registry's own."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """How following a value goes."""

    index: int | None
    """What the source numbers its newest answer with; None before the first one, and after an error."""
    age: float
    """Seconds since the source last confirmed the value; infinite before its first answer."""
    error: str | None
    """Why it is not followed at the moment; None when it is."""
    held_for: float | None
    """Seconds for which the value has been kept although the source says that it is empty; None when it is not."""
    changes: int
    """How often the value has changed."""


class Watched(Protocol[T_co]):
    """A value that follows its source in the background; reading it never waits."""

    @property
    def known(self) -> bool:
        """Whether the source has answered at least once."""

    @property
    def value(self) -> T_co:
        """The newest value; before the first answer, that of an empty source."""

    def age(self) -> float:
        """Seconds since the source last confirmed the value; infinite before the first answer."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back, in the event loop, after the first answer and after every change of the value."""

    async def ready(self, timeout: float | None) -> None:
        """Waits for the first answer, at most `timeout` seconds if any; raises the source's last error."""

    def report(self) -> WatchReport:
        """How following it goes."""


class Discovery(Protocol):
    """Finds the instances of services."""

    def instances(self, selection: Selection) -> Watched[Sequence[Instance]]:
        """The instances that pass their checks. The first call for a selection begins its watch."""

    def fetch_instances(self, selection: Selection) -> Sequence[Instance]:
        """The same, asked for now. Blocks the calling thread; for the first use of a name that nobody announced."""

    def release(self, selection: Selection) -> None:
        """Ends the watch of a selection that nobody reads any more. Called in the event loop."""

    async def services(self) -> Mapping[str, Sequence[str]]:
        """The names of all services, with all tags that instances of theirs have."""


class KeyValue(Protocol):
    """A store of configuration values."""

    async def read(self, key: str) -> bytes | None:
        """The value of `key` now; None when there is none."""

    async def write(self, key: str, value: bytes) -> None:
        """Stores a value; it is durable when this returns."""

    def watch(self, key: str) -> Watched[bytes | None]:
        """The value of `key`, followed. The first call for a key begins its watch."""

    def fetch_key(self, key: str) -> bytes | None:
        """The value of `key`, asked for now. Blocks the calling thread."""
