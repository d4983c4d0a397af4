"""The settings of a service: read when it starts, followed while it runs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from loguru import logger

from hrpc import _runtime, configs, life
from hrpc.configs import decoding
from hrpc.configs.watching import Delivery, Handler, Watching
from hrpc.errors import ConsulError, InvalidConfig, KeyNotExist, NotInitialized, OptionError
from hrpc.plugin import Plugin, Slot, provide
from hrpc_configs.explaining import Explanation, explained
from hrpc_configs.fields import fields, is_class
from hrpc_configs.merging import Merged, Source, merged
from hrpc_configs.sources import checked_file, read_environment, read_file

T = TypeVar("T")
_NO_PATH = re.compile(r"[^\w.]", re.ASCII)


class Settings(Plugin, Generic[T]):
    """Settings of one class, as a plugin: pass it to ``hrpc.with_plugins``. It holds no value before the start."""

    def __init__(
        self, kind: type[T], *, key: str | None = None, file: str | Path | None = None, env: str | None = None
    ) -> None:
        """`kind` is a dataclass, a ``msgspec.Struct`` or a model of pydantic; with its defaults.

        `file`: a TOML or JSON file, read at the start and on SIGHUP. `key`: a JSON object in Consul, under
        ``{environment}/services/{server}/{key}``, followed; it need not be there. `env`: what the names of environment
        variables begin with, ``ORDERS_`` for ``ORDERS_PER_ORDER`` and ``ORDERS_LIMITS__PER_ORDER``. What is not given
        is not read. Raises `OptionError`.
        """
        if not is_class(kind):
            raise OptionError(
                f"hrpc_configs.Settings({kind!r}): takes a dataclass, a msgspec.Struct or a model of pydantic"
            )
        self.kind = kind
        self.name = f"hrpc-configs {kind.__qualname__}"
        self.debug_pages = {f"settings/{_NO_PATH.sub('', kind.__qualname__)}": self._page}
        self._key = key
        self._file = None if file is None else checked_file(file)
        self._env = env
        self._slot = Slot[_Loaded[T]](self.name, "hrpc.with_plugins(…) with these settings")
        self._watchings: list[Watching] = []

    def get(self) -> T:
        """The newest settings. Raises `NotRunning` outside of a server that has them."""
        return self._slot.get().value

    def explain(self) -> Explanation:
        """Where each value comes from, without the secrets; ``print`` shows a table. Raises `NotRunning`."""
        return self._slot.get().explain()

    def watch(self, handler: Handler) -> Watching:
        """Calls ``handler(settings)`` after each change, in every life of the process: as `hrpc.configs.watch`."""
        self._watchings = [known for known in self._watchings if not known.cancelled]
        watching = Watching(self._key or self.name, True, handler, self.kind)
        self._watchings.append(watching)
        runtime = _runtime.current()
        if runtime is not None and self._slot in runtime.values:
            self._slot.get().deliver(watching)
        return watching

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Reads the settings, and follows them while the context lasts. Raises `InvalidConfig`."""
        loaded = _Loaded(self.kind, self.name)
        if self._file is not None:
            loaded.file = await asyncio.to_thread(read_file, self._file)
        if self._env is not None:
            loaded.environment = read_environment(self.kind, self._env, os.environ)
        following = await self._follow(loaded)
        loaded.use()
        if self._file is not None:
            life.when_restart(_reloading(self._file, loaded))
        try:
            async with asyncio.TaskGroup() as group:
                loaded.group = group
                for watching in self._watchings:
                    if not watching.cancelled:
                        loaded.deliver(watching)
                with provide(self._slot, loaded):
                    try:
                        yield
                    finally:
                        loaded.end()
        finally:
            if following is not None:
                following.cancel()

    async def _page(self, _: Mapping[str, str]) -> Mapping[str, Any]:
        return {"settings": [row._asdict() for row in self.explain()]}

    async def _follow(self, loaded: _Loaded[T]) -> Watching | None:
        if self._key is None:
            return None
        try:
            center = configs.slot.get()
        except NotInitialized:  # no Consul, as in tests
            return None
        origin = f"key {center.path(self._key, own=True)!r}"

        async def changed(values: dict[str, Any] | None) -> None:
            loaded.use(stored=Source(origin, values or {}))

        await center.ready(self._key, own=True)
        try:
            loaded.stored = Source(origin, center.sget(self._key, dict))
        except KeyNotExist:
            loaded.stored = Source(origin, {})
        except ConsulError as error:  # the start has been let go on without it; its first answer is a change
            logger.warning("{}: starts without what Consul has: {}", self.name, error)
        return configs.swatch(self._key, changed, dict)


def _reloading(path: Path, loaded: _Loaded[Any]) -> Callable[[], Any]:
    async def reload() -> None:
        loaded.use(file=await asyncio.to_thread(read_file, path))

    return reload


class _Loaded(Generic[T]):
    """The settings in one life of a server."""

    value: T

    def __init__(self, kind: type[T], name: str) -> None:
        self.path = name
        self.refused = 0
        self.failures = 0
        self.callbacks: list[Callable[[], None]] = []
        self.file: Source | None = None
        self.stored: Source | None = None
        self.environment: list[Source] = []
        self.group: asyncio.TaskGroup | None = None
        self._kind = kind
        self._origins: dict[tuple[str, ...], list[str]] = {}
        self._deliveries: list[Delivery] = []

    def use(self, *, file: Source | None = None, stored: Source | None = None) -> None:
        """Makes the settings out of what the sources say, with a new file or key. Raises `InvalidConfig`."""
        file, stored = file or self.file, stored or self.stored
        found = merged(self._kind, [source for source in (file, stored, *self.environment) if source is not None])
        self.value = self._made(found)
        self._origins = found.origins
        self.file, self.stored = file, stored
        for callback in list(self.callbacks):
            callback()

    def explain(self) -> Explanation:
        """Where each value comes from."""
        return explained(self.value, self._origins)

    def deliver(self, watching: Watching) -> None:
        """Calls a handler of changes from now on."""
        delivery = Delivery(watching, self, lambda: self.value)
        self._deliveries.append(delivery)
        if self.group is not None:
            delivery.begin(self.group)

    def end(self) -> None:
        """Calls no handler any more."""
        self.group = None
        for delivery in self._deliveries:
            delivery.end()

    def _made(self, found: Merged) -> T:
        try:
            sources = {name: None for names in found.origins.values() for name in names}
            return decoding.decode(self._kind, found.values, source=", ".join(sources))
        except decoding.Refused as refused:
            path = tuple(refused.field.replace("[", ".[").split("."))
            while path and path not in found.origins:
                path = path[:-1]
            origin = found.origins[path][-1] if path else f"settings {self._kind.__qualname__}"
            hidden = [*decoding.secrets(found.values), *_marked(self._kind, found.values)]
            reason = decoding.without(refused.reason, hidden)
            raise InvalidConfig.because(origin, refused.field or None, reason) from None


def _marked(kind: Any, values: Mapping[str, Any]) -> Iterator[str]:
    """What stands in fields that are marked as secret."""
    for name, field in fields(kind).items():
        value = values.get(name)
        if field.secret:
            yield from decoding.secrets(value, hidden=True)
        elif is_class(field.kind) and isinstance(value, Mapping):
            yield from _marked(field.kind, value)
