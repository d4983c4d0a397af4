"""What the adapter of another kind of database is made of: for plugins.

The kind has a settings class, a place for what its ``get()`` gives, and a function that opens it::

    from hrpc.database.adapter import PASSWORD, SERVERS, Pool, Recipe, Settings, Slots, new_recipe, setting

    slots: Slots[Client] = Slots("ledger", "hrpc.with_databases(ledger.new({}))")
    slot = slots.own                                        # for hrpc.testing.provide

    @dataclass(frozen=True, slots=True)
    class LedgerSettings(Settings):
        address: str = setting(SERVERS)
        password: str = setting(PASSWORD, "")

    def new(*, name: str | None = None, **settings: Any) -> Recipe[LedgerSettings]:
        return new_recipe(slots, name, LedgerSettings, settings, connect, "ledgerdriver", "hrpc-ledger")

    def get(name: str | None = None) -> Client:
        return slots.get(name)

    @asynccontextmanager
    async def connect(settings: LedgerSettings) -> AsyncIterator[Pool]:
        ...                                                 # opens, gives an hrpc.abc.Pool, and closes

It then has settings from Consul KV under ``{env}/databases/ledger``, which are followed, names, readiness, metrics and
the status UNAVAILABLE for calls that fail because the server is away, as MySQL and Redis have them.
"""

from __future__ import annotations

from hrpc._runtime import Slots, tracer
from hrpc.abc import Pool, PoolStats, RequestSpan, Tracer
from hrpc.database.activity import Activity
from hrpc.database.holding import Holder
from hrpc.database.holding import told as holders_told
from hrpc.database.recipe import Recipe, new_recipe
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
    Settings,
    integer,
    one_of,
    setting,
)
from hrpc.recipe.tls import certificate_problem

__all__ = [
    "ANY_TEXT",
    "BOOLEAN",
    "PASSWORD",
    "PATH",
    "SECONDS",
    "SERVERS",
    "TEXT",
    "Activity",
    "Holder",
    "Kind",
    "Pool",
    "PoolStats",
    "Recipe",
    "RequestSpan",
    "Server",
    "Settings",
    "Slots",
    "Tracer",
    "certificate_problem",
    "holders_told",
    "integer",
    "new_recipe",
    "one_of",
    "parsed",
    "setting",
    "told",
    "tracer",
]
