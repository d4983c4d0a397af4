"""What a life consists of: its steps, in the order in which they are entered. They are left in reverse.

All of them are known before the first one is entered, so that each can say which of how many it is. What a step needs
of those before it, it finds in `Parts` when its turn has come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from hrpc import life, tasks
from hrpc.abc import Database
from hrpc.engine.choice import chosen
from hrpc.health.state import Phase
from hrpc.option import RunStep, in_order
from hrpc.server import discovery, tracing
from hrpc.server.drain import noticed
from hrpc.server.parts import Parts
from hrpc.server.registration import registered
from hrpc.server.serving import bound, health_http, metrics_http, serving
from hrpc.server.steps import Step


def plan(parts: Parts, errors: list[Exception], *, serves: bool) -> Iterator[Step]:
    """The steps of a server, or without `serves` those around a job; what goes wrong in hooks is put into `errors`."""
    s, audit = parts.settings, parts.audit
    assert audit is not None
    yield Step(None, lambda: audit, leaving="log flushed")
    yield Step("control", parts.control.opened)
    if s.tracing is not None:
        # First, so that what is opened after it can be traced, and last to end, so that the last spans are sent.
        yield Step("tracing", partial(tracing.opened, s, parts.runtime, parts.outgoing))
    yield from _discovery(parts)
    for plugin in s.plugins:
        yield Step(plugin.name, plugin.load)
    for database in s.databases:
        yield Step(database.name, partial(_pool, parts, database))
    yield Step("background tasks", partial(_background_tasks, parts), limited=False)
    if s.consul is not None:
        yield Step("config handlers", partial(_config_handlers, parts))
    yield Step("exit hooks", partial(_exit_hooks, parts, errors), limited=False)
    yield from _serving(parts) if serves else _steps_of_user(parts)


def _discovery(parts: Parts) -> Iterator[Step]:
    s = parts.settings
    if s.consul is None and s.static_services is None:
        return
    # In this order, so that nothing that is followed in Consul reaches for connections that have been closed.
    yield Step("connections", partial(discovery.connections, parts))
    if s.consul is not None:
        yield Step("consul", partial(discovery.consul, parts, s.consul))
    yield Step("discovery", partial(discovery.discovering, parts))


def _steps_of_user(parts: Parts) -> Iterator[Step]:
    s = parts.settings
    for step in in_order(s.pre_run):
        yield Step(step.name, partial(_before, step, s.stop.step_limit), leaving="", limited=False)
    for step in reversed(in_order(s.post_run)):
        yield Step(None, partial(_after, step, s.stop.step_limit), leaving=step.name, limited=False)


def _serving(parts: Parts) -> Iterator[Step]:
    s = parts.settings
    if s.health_port is not None:
        yield Step("health", partial(health_http, parts, s.health_port))
    if s.metrics_port is not None:
        yield Step("metrics", partial(metrics_http, parts, s.metrics_port))
    engine = chosen(s, shared=s.port_is_held)
    yield Step("bind", partial(bound, parts, engine), leaving="close port")
    if s.upstreams:
        yield Step("upstreams", partial(discovery.upstreams_known, parts))
    yield from _steps_of_user(parts)
    hosts = bool(s.hosted.services)
    if hosts:
        set_up = partial(parts.hosted.set_up, parts.recorder)
        yield Step("set up services", set_up, leaving="release services", limited=False)
    yield Step("serve", partial(serving, parts, engine), leaving="drain", limited=False)
    if hosts:
        # Told to stop before the drain begins, and awaited after it, so that both go on at once.
        yield Step("run services", parts.hosted.running, leaving="cancel services")
    if s.consul is not None:
        delay = partial(_drain_delay, parts)
        yield Step(None, partial(noticed, delay, parts.hurry), leaving="drain delay", limited=False)
        yield Step("register", partial(registered, parts, s.consul), leaving="deregister")
    yield Step("ready", partial(_ready, parts), leaving="not ready")


def _pool(parts: Parts, database: Database) -> AbstractAsyncContextManager[None]:
    return parts.pools.opened(database, parts.configs)


def _config_handlers(parts: Parts) -> AbstractAsyncContextManager[None]:
    assert parts.configs is not None
    return parts.configs.delivering()


@asynccontextmanager
async def _background_tasks(parts: Parts) -> AsyncIterator[None]:
    async with tasks.opened(parts.settings.stop.step_limit, parts.hurry) as parts.background:
        with parts.runtime.provide(tasks.slot, parts.background):
            try:
                yield
            finally:
                parts.draining.begin()


@asynccontextmanager
async def _exit_hooks(parts: Parts, errors: list[Exception]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        errors += await life.run_exit_hooks(parts.runtime, parts.settings.stop.step_limit)


@asynccontextmanager
async def _before(step: RunStep, patience: float) -> AsyncIterator[None]:
    await life.run_cancellable(step.run, patience)
    yield


@asynccontextmanager
async def _after(step: RunStep, limit: float) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await life.run_within(limit, step.name, step.run)


def _drain_delay(parts: Parts) -> float:
    return parts.settings.drain_delay if parts.progress.finished else 0.0


@asynccontextmanager
async def _ready(parts: Parts) -> AsyncIterator[None]:
    parts.health.enter(Phase.SERVING)
    try:
        yield
    finally:
        parts.health.enter(Phase.STOPPING)
