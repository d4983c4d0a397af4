"""The maps of a server, in its life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from hrpc import Option, life, metrics
from hrpc.errors import OptionError
from hrpc.plugin import Plugin, option
from hrpc_inmemory.map import Map
from hrpc_inmemory.statistics import Statistics

_COUNTERS = {
    "hits": "Reads that found a value.",
    "misses": "Reads that found none.",
    "stale": "Reads that were given a value whose life was over, while it was loaded anew.",
    "loads": "Loaders that were called.",
    "failures": "Loaders that raised, or took too long.",
    "evictions": "Entries that were taken out because the map was full.",
    "expirations": "Entries that were taken out because their life was over.",
}
_GAUGES = {
    "entries": "Entries that are there.",
    "size": "What the entries weigh; their number, when nothing says what one weighs.",
}


def with_maps(*maps: Map[Any, Any]) -> Option:
    """Maps that a server has: their metrics are among its own, their entries are freed when their life is over, and
    what they load ends with it, before its databases are closed.

    Metrics are ``{server}_inmemory_hits_total{map}`` and the like, of all fields of `Statistics`. Raises `OptionError`
    for two maps of the same name, and for what is no map. Maps that no server has work as well.
    """
    return option("hrpc_inmemory.with_maps", InMemory(*maps))


class InMemory(Plugin):
    """Maps in the life of a server, as a plugin: see `with_maps`."""

    name = "hrpc-inmemory"

    def __init__(self, *maps: Map[Any, Any]) -> None:
        """Raises `OptionError` for two maps of the same name, and for what is no map."""
        for number, one in enumerate(maps):
            if not isinstance(one, Map):
                raise OptionError(f"hrpc_inmemory.with_maps: takes maps, not {one!r}")
            if any(one.name == other.name for other in maps[:number]):
                raise OptionError(
                    f"hrpc_inmemory.with_maps: two maps are called {one.name!r}; their metrics need a name for each"
                )
        self._maps = maps
        self.debug_pages = {"inmemory": self._report}

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Measures the maps, and takes out what has ended; ends what still loads before the databases are closed."""
        for name, help in _COUNTERS.items():
            metrics.register_counter(f"inmemory_{name}", help, ("map",), read=self._reading(name))
        for name, help in _GAUGES.items():
            metrics.register_gauge(f"inmemory_{name}", help, ("map",), workers="sum", read=self._reading(name))
        life.when_exit(self._end_loads)
        with ExitStack() as stack:
            for one in self._maps:
                stack.enter_context(one.swept())
            yield

    def _reading(self, name: str) -> Callable[[], dict[str, float]]:
        index = Statistics._fields.index(name)
        return lambda: {one.name: one.statistics()[index] for one in self._maps}

    async def _report(self, _: Mapping[str, str]) -> Mapping[str, Any]:
        return {one.name: one.statistics()._asdict() for one in self._maps}

    async def _end_loads(self) -> None:
        for one in self._maps:
            await one.end_loads()
