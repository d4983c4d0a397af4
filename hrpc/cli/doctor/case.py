"""What is examined, and what the checks before have found out about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hrpc.option import Consul, Settings

if TYPE_CHECKING:
    from hrpc.consul.transport import Transport


@dataclass(slots=True)
class Case:
    """A service and its Consul; without a `settings`, Consul alone."""

    settings: Settings | None
    consul: Consul
    wants_consul: bool
    connect: Callable[[], AbstractAsyncContextManager[Transport]]
    answers: bool = False
    """Whether Consul answers."""
    token_is_known: bool = True
    """Whether Consul knows the token that is given; when it does not, it denies everything."""
    taken: set[int] = field(default_factory=set)
    """Ports that somebody listens on."""
    runs: bool = False
    """Whether those are the service itself."""
    port: int | None = None
    """The port that the running service has registered."""

    @property
    def server(self) -> Settings:
        """The settings, for checks of a service."""
        assert self.settings is not None
        return self.settings
