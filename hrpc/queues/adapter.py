"""What the adapter of another broker is made of, beside the contract: for plugins.

A broker has a settings class, a place for what its ``get()`` gives, and a function that opens it::

    from hrpc.queues import Broker, Recipe, Subscription, new_recipe
    from hrpc.queues.adapter import PASSWORD, SERVERS, Settings, Slots, setting

    slots: Slots[Client] = Slots("pigeons", "hrpc.with_message_queues(pigeons.new({}))")
    slot = slots.own                                        # for hrpc.testing.provide

    @dataclass(frozen=True, slots=True)
    class PigeonSettings(Settings):
        address: str = setting(SERVERS)
        password: str = setting(PASSWORD, "")

    def new(*subscriptions: Subscription, name: str | None = None, **settings: Any) -> Recipe[PigeonSettings]:
        return new_recipe(slots, name, PigeonSettings, settings, subscriptions, connect, address="address")

    def get(name: str | None = None) -> Client:
        return slots.get(name)

    @asynccontextmanager
    async def connect(settings: PigeonSettings) -> AsyncIterator[Broker]:
        ...                                                 # opens, gives a Broker, and closes

It then has settings from Consul KV under ``{env}/messagequeues/pigeons``.
"""

from __future__ import annotations

from hrpc import _runtime
from hrpc._runtime import Slots
from hrpc.recipe.servers import Server, parsed, told
from hrpc.recipe.settings import (
    ANY_TEXT,
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
    setting,
)
from hrpc.recipe.tls import Trust, certificate_problem

__all__ = [
    "ANY_TEXT",
    "BOOLEAN",
    "PASSWORD",
    "PATH",
    "SECONDS",
    "SERVERS",
    "TEXT",
    "Kind",
    "Secret",
    "Server",
    "Settings",
    "Slots",
    "Trust",
    "certificate_problem",
    "integer",
    "one_of",
    "parsed",
    "server_name",
    "setting",
    "told",
]


def server_name() -> str:
    """The name of the server in which this runs, by which a broker tells its clients apart; "hrpc" outside of one."""
    runtime = _runtime.current()
    return "hrpc" if runtime is None else runtime.server_name
