"""Telling others of a service."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol


class Check(NamedTuple):
    """How a registry finds out whether an instance is well. Durations are in seconds.

    `target` is a URL for kind "http", ``host:port/service`` of the standard gRPC health service for kind "grpc", and
    empty for kind "ttl", for which the instance itself says every `interval` seconds that it is well.
    """

    kind: Literal["http", "grpc", "ttl"]
    target: str
    interval: float
    timeout: float
    deregister_after: float
    tls: bool = False

    @property
    def ttl(self) -> float:
        """Seconds without a word from the instance after which it counts as not well: two words may get lost."""
        return 3 * self.interval


class Registration(NamedTuple):
    """What a service tells a registry about itself. Durations are in seconds."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    weight: int
    check: Check
    tagged_addresses: Mapping[str, tuple[str, int]] = MappingProxyType({})
    """Further addresses by name, such as ``wan``: host and port."""


class RegistrationReport(NamedTuple):
    """How a registration stands now. Durations are in seconds."""

    registration: Registration
    present: bool
    """Whether the registry listed it when it was last asked."""
    missing_for: float | None
    """Since when it is not known to be listed; None while it is."""
    error: str | None
    """What kept it from being listed, when that is an error of the registry."""
    put_ago: float | None
    """Since it was last sent; None when it never was."""
    puts_again: int
    """How often it was missing or different and was sent again."""
    maintenance: str | None
    """Why it is out of rotation; None when it is not."""


class Registry(Protocol):
    """Keeps a service listed while it is entered."""

    @property
    def present(self) -> bool:
        """Whether the registry listed the service when it was last asked."""

    def report(self) -> RegistrationReport | None:
        """How the registration stands; None while nothing is registered."""

    async def maintenance(self, reason: str | None) -> None:
        """Takes the service out of rotation, or back in with None, until further notice.

        Raises the registry's error when it cannot be told now; it is then told as soon as it answers.
        """

    def registered(self, registration: Registration) -> AbstractAsyncContextManager[None]:
        """Registers; keeps the entry alive, whatever happens to the registry; deregisters at the end."""
