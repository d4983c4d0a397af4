"""What is done while Consul does not answer: a start fails or goes on, and what was known before stands in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from loguru import logger

from hrpc.consul.refusal import is_outage
from hrpc.consul.snapshot import Snapshot
from hrpc.consul.snapshot.keeper import Key, lasting, named
from hrpc.consul.transport import Transport
from hrpc.consul.watch import Watch
from hrpc.errors import ConsulError, ConsulUnreachable
from hrpc.option import Consul

T = TypeVar("T")

Query = Callable[[int | None, float], Awaitable[tuple[int, T]]]


class Offline:
    """For one client; `snapshot` is None without `hrpc.with_snapshot`."""

    def __init__(self, consul: Consul, transport: Transport, snapshot: Snapshot | None) -> None:
        self.snapshot = snapshot
        self._transport = transport
        self._fail_fast = consul.fail_fast
        self._began_with_snapshot = snapshot is not None and snapshot.usable

    @property
    def patient(self) -> bool:
        """Whether a start goes on without Consul."""
        return self._began_with_snapshot if self._fail_fast is None else not self._fail_fast

    def bears(self, error: ConsulError) -> bool:
        """Whether a start goes on after this error. A denial is no outage, unless every error is borne."""
        return self._fail_fast is False or (self.patient and is_outage(error))

    def starts(self, error: ConsulError) -> None:
        """A start goes on after this error."""
        self._transport.reachable = False
        if self.snapshot is not None and self.snapshot.usable:
            logger.warning("{}; the start goes on with {}", error, self.snapshot.about())
        else:
            logger.warning("{}; the start goes on, with nothing that is known of Consul", error)

    def backed(self, key: Key, query: Query[T], watch: Callable[[], Watch[T]]) -> Query[T]:
        """The same query, whose answers are remembered; until the first one, `watch` has what was known before."""
        if self.snapshot is None:
            return query

        async def ask(index: int | None, wait: float) -> tuple[int, T]:
            try:
                newest, value = await query(index, wait)
            except ConsulError as error:
                if is_outage(error):
                    self.stand_in(key, watch())
                raise
            self.remember(key, value)
            return newest, value

        return ask

    def remember(self, key: Key, value: Any) -> None:
        """Consul has just given this value."""
        if self.snapshot is not None:
            self.snapshot.remember(key, value, time.time())

    def stand_in(self, key: Key, watch: Watch[Any]) -> None:
        """Gives `watch` what was known before, when Consul has not answered it yet and there is something."""
        if self.snapshot is None or watch.known or (found := self.snapshot.restore(key)) is None:
            return
        value, age = found
        watch.begin_with(value, age)
        logger.warning("{}: until Consul answers, as it was {} ago", watch.name, lasting(age))

    def instead(self, keys: Sequence[Key], error: ConsulError) -> Any:
        """What was known before of the first of `keys` of which anything was; raises `error` when there is none.

        It is what stands in for an answer that Consul did not give because of the error.
        """
        if self.snapshot is None or not is_outage(error):
            raise error
        found = next(filter(None, map(self.snapshot.restore, keys)), None)
        if found is None:
            raise ConsulUnreachable(f"{error}; {self.snapshot.missing(keys[0])}") from error
        value, age = found
        logger.warning("{}: as it was {} ago, because of this: {}", named(keys[0]), lasting(age), error)
        return value
