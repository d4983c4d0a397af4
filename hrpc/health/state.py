"""What is true of the server now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, NamedTuple

from loguru import logger

from hrpc import _runtime
from hrpc.errors import OptionError
from hrpc.health.checker import OK, Checked, Checker, Kind

PART_LIMIT = 1.0
"""Seconds that a part of the server's own has to answer."""
TAKEN = ("server", "switch")
"""Names of parts that every kind has."""


Change = Sequence[Any]
"""Something that was said of the health: what it is, of what by name, and what was said."""

Ask = Callable[[Kind, float | None], Awaitable[Mapping[str, str]]]
"""Asks for the parts of a kind, and waits so many seconds for it."""


class Phase(StrEnum):
    """Where the server stands in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Answer(NamedTuple):
    """What a probe is told: whether all is well, and part → "ok", or what is wrong with it."""

    well: bool
    parts: dict[str, str]
    wrong: str
    """What is wrong, in one line; empty when nothing is."""
    failing: frozenset[str]
    """The parts that are wrong; what others say instead of "ok" is told beside."""


class Health:
    """The state that all probes read."""

    def __init__(self, name: str = "", checkers: Iterable[Checker] = ()) -> None:
        """`name` is the server's, for the log."""
        self.phase = Phase.STARTING
        self.maintenance: str | None = None
        """Why the server wants no new calls for now; None when it wants them."""
        self.progress: Callable[[], str] = str
        """How far the start has come."""
        self.done: Callable[[], Iterable[tuple[str, float]]] = tuple
        """The steps of the start that are done, with the seconds each one took."""
        self.services: dict[str, bool] = {}
        """The gRPC services of which the user has said whether they serve."""
        self.spread: Callable[[Change], None] | None = None
        """Tells the other processes of the service what has been changed here."""
        self._name = name
        self._elsewhere: Ask | None = None
        self._checked: dict[tuple[Kind, str], Checked] = {}
        self._closed: dict[Kind, str] = {}
        self._details: dict[str, Callable[[], str]] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        for checker in checkers:
            self.register(checker)

    def register(self, checker: Checker) -> None:
        """Lets probes of its kind ask this as well. Raises `OptionError` for a name that is taken."""
        key = checker.kind, checker.name
        if key in self._checked or checker.name in TAKEN:
            raise OptionError(
                f"health.check({checker.name!r}): {checker.kind} has a part of this name already; give it another"
            )
        self._checked[key] = checked = Checked(checker, self._told)
        if self._group is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._follow, checked)

    def add(self, name: str, ping: Callable[[], Awaitable[None]]) -> None:
        """A part of the server's own, without which it is not ready. `ping` raises when it is not well."""
        self.register(Checker(name, ping, Kind.READINESS, PART_LIMIT))

    def tell(self, name: str, read: Callable[[], str]) -> None:
        """Something to tell beside the parts; the server is as ready as it is, whatever this says."""
        self._details[name] = read

    def enter(self, phase: Phase) -> None:
        """Goes to the next phase and tells those who watch."""
        self.phase = phase
        self.notify()

    def close(self, kind: Kind, reason: str) -> None:
        """Lets probes of this kind fail, whatever the parts say, until it is opened."""
        logger.info("{}: {} is closed: {}", self._name, kind, reason)
        self.change("switch", kind, reason)

    def open(self, kind: Kind) -> None:
        """Lets probes of this kind depend on the parts again."""
        if kind in self._closed:
            logger.info("{}: {} is open again", self._name, kind)
            self.change("switch", kind, None)

    def set_serving(self, service: str, serving: bool) -> None:
        """Says whether a gRPC service wants calls, also one that is not known yet."""
        self.change("service", service, serving)

    def take(self, change: Change) -> None:
        """Makes a change that was made in another process of the service."""
        what, name, value = change
        if what == "maintenance":
            self.maintenance = value
        elif what == "service":
            self.services[name] = value
        elif value is None:
            self._closed.pop(Kind(name), None)
        else:
            self._closed[Kind(name)] = value
        self.notify()

    @property
    def changes(self) -> list[Change]:
        """What has been changed so far, for a process that has just begun."""
        found: list[Change] = [("switch", str(kind), reason) for kind, reason in self._closed.items()]
        found += [("service", service, serving) for service, serving in self.services.items()]
        return [*found, ("maintenance", "", self.maintenance)]

    def ask_elsewhere(self, ask: Ask) -> None:
        """Lets `ask` tell of the parts of each kind, and not the checkers that there are: other processes have them."""
        self._checked.clear()
        self._elsewhere = ask

    def serves(self, service: str) -> bool:
        """Whether a gRPC service wants calls; the empty name is the server as a whole."""
        wanted = self.phase is Phase.SERVING and Kind.READINESS not in self._closed
        return wanted and self.services.get(service, True)

    async def ask(self, kind: Kind, within: float | None = None) -> Answer:
        """Asks what belongs to this kind, everything at once, and waits `within` seconds for it.

        Checkers are asked while it serves: a start has its limits and its steps to tell of, a stop has its limits, and
        whoever kills a server that stops makes it lose calls.
        """
        parts = {"server": self._server(kind)}
        if (reason := self._closed.get(kind)) is not None:
            parts["switch"] = f"closed: {reason}"
        if self.phase is Phase.SERVING:
            asked = [checked for (of, _), checked in self._checked.items() if of is kind]
            answers = await asyncio.gather(*(_within(within, checked.answer()) for checked in asked))
            parts |= {checked.checker.name: said for checked, said in zip(asked, answers, strict=True)}
            if self._elsewhere is not None:
                parts |= await self._elsewhere(kind, within)
        failing = frozenset(name for name, said in parts.items() if said != OK)
        wrong = "; ".join(f"{name}: {parts[name]}" for name in parts if name in failing)
        if kind is Kind.READINESS:
            parts |= {name: read() for name, read in self._details.items()}
        return Answer(not failing, parts, wrong, failing)

    def notify(self) -> None:
        """Tells those who watch that something is otherwise; any thread may."""
        self._on_loop(self._wake)

    async def changed(self) -> None:
        """Waits for the next phase, or another change of what `serves` says."""
        await self._changed.wait()

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        """Asks those checkers in the background that want it, while the context lasts; then no checker at all."""
        async with asyncio.TaskGroup() as group:
            self._group, self._loop = group, asyncio.get_running_loop()
            for checked in self._checked.values():
                self._follow(checked)
            try:
                yield
            finally:
                self._group = None
                for checked in self._checked.values():
                    checked.end()

    def change(self, *change: Any) -> None:
        """Makes a change, and tells it to others; any thread may."""
        self.take(change)
        if self.spread is not None:
            self._on_loop(self.spread, change)

    def _on_loop(self, function: Callable[..., None], *args: object) -> None:
        if self._loop is None or self._loop is _running_loop():
            function(*args)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _follow(self, checked: Checked) -> None:
        if self._group is not None and checked.checker.every is not None:
            checked.follow(self._group, self._serving)

    async def _serving(self) -> None:
        while self.phase is not Phase.SERVING:
            await self.changed()

    def _told(self, checker: Checker, said: str) -> None:
        if self.phase is not Phase.SERVING:
            return
        if said == OK:
            logger.info("{}: {} is well again: {}", self._name, checker.kind, checker.name)
        else:
            logger.warning("{}: {} fails: {}: {}", self._name, checker.kind, checker.name, said)

    def _server(self, kind: Kind) -> str:
        match self.phase, kind:
            case Phase.STARTING, Kind.STARTUP:
                return f"starting: {self.progress()}"
            case Phase.SERVING, Kind.READINESS if self.maintenance is not None:
                return f"in maintenance: {self.maintenance}"
            case Phase.STARTING | Phase.STOPPING, Kind.READINESS:
                return str(self.phase)
        return OK


async def _within(seconds: float | None, answer: Coroutine[Any, Any, str]) -> str:
    try:
        return await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        return f"no answer within {seconds:g} s"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


slot = _runtime.Slot[Health]("hrpc.health", None)
