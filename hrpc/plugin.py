"""The contract of plugins: packages that extend a server without being a part of hrpc.

::

    from contextlib import asynccontextmanager

    import hrpc.plugin

    class Greeting(hrpc.plugin.Plugin):
        name = "acme-greeting"

        @asynccontextmanager
        async def load(self):
            async with connected() as self.greetings:
                yield

    server = hrpc.new_server(..., hrpc.with_plugins(Greeting()))

docs/plugins.md has a whole one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from hrpc import _runtime
from hrpc._runtime import Slot
from hrpc.abc import PLUGIN_API_VERSION as API_VERSION
from hrpc.abc import Report
from hrpc.errors import NotRunning
from hrpc.option import Option
from hrpc.option.plugin_checks import checked

__all__ = ["API_VERSION", "Announced", "Plugin", "Report", "Slot", "option", "provide"]

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Announced:
    """A server as it tells others of itself: what Consul is told as well, where it registers there. See
    `Plugin.announce`."""

    id: str
    """The instance; new in every life. It is the one in Consul."""
    name: str
    """The service."""
    address: str
    """Where others reach it: see `hrpc.with_registration`."""
    port: int
    """Where gRPC was bound; with workers, they share it."""
    health_port: int | None
    """Where probes are answered over HTTP; None without `hrpc.with_health_check`."""
    environment: str
    version: str | None
    tags: Sequence[str]
    meta: Mapping[str, str]
    weight: int
    methods: Sequence[str]
    """The paths of what it serves, ``/package.Service/Method``, sorted."""
    drain_delay: float
    """Seconds that a stop waits, after all that was announced has been taken back, until it takes no new call."""
    grace: float
    """Seconds that running calls have to end after that."""
    when_drained: Callable[[Callable[[], Awaitable[object] | object]], None]
    """Takes a function, which the stop runs when no call runs any more and the port is closed; the last one first."""
    when_maintained: Callable[[Callable[[str | None], Awaitable[object] | object]], None]
    """Takes a function, which is called with the reason when `Server.enter_maintenance` takes the server out of
    rotation, and with None when it is back; for one that is out already, as soon as `Plugin.announce` is entered. It
    has the limit of a step, and is called no more when `Plugin.announce` is to be left."""


class Plugin:
    """A plugin that does nothing yet: a class of yours derives from it, and says what it does.

    Nothing obliges to derive from it: an object with ``name`` and ``load()`` is a plugin, and what else it has of this
    is used. ``hrpc.metrics.register_counter`` and the like belong into `load`.
    """

    name: str
    """Of which a server has one: that of the package, "hrpc-location", and of its entry point in ``hrpc.plugins``."""
    depends_on: Sequence[str] = ()
    """The names of the plugins that are to be loaded before it, and unloaded after it."""
    api_version: int = 1
    """The version of this contract that it is written for: `API_VERSION` of that time. Another one is refused."""
    options: Sequence[Option] = ()
    """Options of the server that it brings. What the user gives wins; what are lists, such as databases, interceptors
    and hosted services, come before those of the user."""
    health_checks: Mapping[str, Callable[[], Awaitable[object] | object]] = _NOTHING
    """What readiness asks while the server serves, by the name of the part: as `hrpc.health.check`."""
    debug_pages: Mapping[str, Report] = _NOTHING
    """What ``GET /debug/{path}`` of the health port answers whom `hrpc.with_debug` lets in: an async function, which
    gets the parameters of the request and gives what is shown as JSON. With workers, each of them is asked."""
    commands: Mapping[str, str] = _NOTHING
    """Commands that it adds to ``hrpc``: by name, "module:attribute" of a ``click.Command``."""

    def load(self) -> AbstractAsyncContextManager[object]:
        """Entered when the server starts, with Consul and before the databases; left when it stops, after these.

        In the event loop of the server; with workers, in each of them. Also for the job of ``server.run``.
        """
        return nullcontext()

    def announce(self, server: Announced) -> AbstractAsyncContextManager[object] | None:
        """Tells others that this server takes calls, while the context lasts; None for a plugin that tells nobody.

        It is entered when calls are taken, beside the registration with Consul and also without that, and left before
        the server refuses the first one: then `server.drain_delay` seconds pass in which callers may notice. With
        workers it is entered in their master, where `load` has not been entered, and not in them.
        """
        return None


def option(name: str, plugin: Plugin) -> Option:
    """The option of a plugin's own: adds this plugin to those of `hrpc.with_plugins`. Raises `PluginError`.

    ::

        def with_greeting(text: str) -> hrpc.Option:
            return hrpc.plugin.option("acme_greeting.with_greeting", Greeting(text))
    """
    return Option(name, {}, {"plugins": (checked(name, plugin),)})


def provide(slot: Slot[T], value: T) -> AbstractContextManager[None]:
    """Lets ``slot.get()`` give `value` in this server, while the context lasts: for ``load()``. Raises `NotRunning`.

    A slot is the place of one thing of which each running server has its own. It is declared once, as `slot` of a
    module, where `hrpc.testing.provide` finds it as well.

    ::

        slot = hrpc.plugin.Slot[Greetings]("acme-greeting", 'hrpc.with_plugins("acme-greeting")')

        def get() -> Greetings:             # for handlers, jobs and hooks
            return slot.get()

        async def load(self):               # of the plugin, an async context manager
            async with connected() as greetings:
                with hrpc.plugin.provide(slot, greetings):
                    yield
    """
    runtime = _runtime.current()
    if runtime is None:
        raise NotRunning(f"{slot.name}: no hrpc server is running in this event loop; provide it in load()")
    return runtime.provide(slot, value)
