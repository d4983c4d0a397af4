"""What a life consists of: its steps, in the order in which they are entered. They are left in reverse.

All of them are known before the first one is entered, so that each can say which of how many it is. What a step needs
of those before it, it finds in `Parts` when its turn has come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from hrpc import from_thread, life, tasks
from hrpc.abc import Database, Engine, MessageQueue
from hrpc.engine.choice import chosen
from hrpc.health.state import Phase
from hrpc.option import RunStep, in_order
from hrpc.server import discovery, tracing
from hrpc.server.drain import noticed
from hrpc.server.job import Job, beating
from hrpc.server.parts import Parts
from hrpc.server.plugins import announcing
from hrpc.server.plugins.loading import loaded
from hrpc.server.plugins.plugins import announces
from hrpc.server.registration import registered
from hrpc.server.serving import bound, health_http, metrics_http, serving
from hrpc.server.steps import Step


def plan(parts: Parts, errors: list[Exception], job: Job | None = None) -> Iterator[Step]:
    """The steps of a server, or those around a job; what goes wrong in hooks is put into `errors`."""
    yield logged(parts)
    yield Step("control", parts.control.opened)
    if job is None:
        yield from needed(parts, errors)
        yield from _serving(parts, errors)
        return
    yield Step("heartbeat", partial(beating, job, parts))
    yield from needed(parts, errors)
    yield from steps_of_user(parts)
    yield ready(parts)


def needed(parts: Parts, errors: list[Exception]) -> Iterator[Step]:
    """What the service's own code needs around it."""
    s = parts.settings
    if s.tracing is not None:
        # First, so that what is opened after it can be traced, and last to end, so that the last spans are sent.
        yield Step("tracing", partial(tracing.opened, s, parts.runtime, parts.outgoing))
    yield from _discovery(parts)
    if s.node_id is not None:
        yield Step("node id", partial(_node_id, parts, s.node_id))
    for plugin in s.plugins:
        yield Step(plugin.name, partial(loaded, plugin))
    for database in s.databases:
        yield Step(database.name, partial(_pool, parts, database))
    for queue in s.message_queues:
        yield Step(queue.name, partial(_queue, parts, queue))
    yield Step("background tasks", partial(_background_tasks, parts), limited=False)
    if s.consul is not None:
        yield Step("config handlers", partial(_config_handlers, parts))
    yield Step("health checkers", parts.health.checking)
    yield Step("exit hooks", partial(_exit_hooks, parts, errors), limited=False)


def _node_id(parts: Parts, node: int) -> AbstractAsyncContextManager[None]:
    from hrpc.server import node_id  # for those who choose one

    return node_id.taken(parts, node)


def logged(parts: Parts) -> Step:
    """The log, of which the last line is the last thing to be written."""
    audit = parts.audit
    assert audit is not None
    return Step(None, lambda: audit, leaving="log flushed")


def _discovery(parts: Parts) -> Iterator[Step]:
    s = parts.settings
    if s.consul is None and s.static_services is None:
        return
    # In this order, so that nothing that is followed in Consul reaches for connections that have been closed.
    yield Step("connections", partial(discovery.connections, parts))
    if s.consul is not None:
        yield Step("consul", partial(discovery.consul, parts, s.consul))
    yield Step("discovery", partial(discovery.discovering, parts))


def steps_of_user(parts: Parts) -> Iterator[Step]:
    """The service's own steps, before the first call and after the last."""
    s = parts.settings
    for step in in_order(s.pre_run):
        yield Step(step.name, partial(_before, step, s.stop.step_limit), leaving="", limited=False)
    for step in reversed(in_order(s.post_run)):
        yield Step(None, partial(_after, step, s.stop.step_limit), leaving=step.name, limited=False)


def _serving(parts: Parts, errors: list[Exception]) -> Iterator[Step]:
    yield from probed(parts)
    yield from drained(parts, errors)
    engine = chosen(parts.settings, shared=parts.settings.port_is_held)
    yield Step("bind", partial(bound, parts, engine), leaving="close port")
    yield from prepared(parts)
    yield from answered(parts, engine)
    yield from announced(parts)


def probed(parts: Parts) -> Iterator[Step]:
    """Where others look how the server is."""
    s = parts.settings
    if s.health_port is not None:
        yield Step("health", partial(health_http, parts, s.health_port))
    if s.metrics_port is not None:
        yield Step("metrics", partial(metrics_http, parts, s.metrics_port))


def drained(parts: Parts, errors: list[Exception]) -> Iterator[Step]:
    """What comes in a stop when the last call has ended."""
    if parts.settings.announces:
        yield Step(None, partial(announcing.drained, parts, errors), leaving="plugins after drain", limited=False)


def prepared(parts: Parts) -> Iterator[Step]:
    """What has to be there before the first call comes."""
    if parts.settings.upstreams:
        yield Step("upstreams", partial(discovery.upstreams_known, parts))
    yield from steps_of_user(parts)
    if parts.settings.has_services:
        set_up = partial(parts.hosted.set_up, parts.recorder)
        yield Step("set up services", set_up, leaving="release services", limited=False)


def answered(parts: Parts, engine: Engine) -> Iterator[Step]:
    """Calls are taken, and what runs beside them runs."""
    yield Step("serve", partial(serving, parts, engine), leaving="drain", limited=False)
    if parts.settings.has_services:
        # Told to stop before the drain begins, and awaited after it, so that both go on at once.
        yield Step("run services", parts.hosted.running, leaving="cancel services")


def announced(parts: Parts) -> Iterator[Step]:
    """Others learn that the server takes calls, and at the end that it takes none."""
    s = parts.settings
    if s.is_announced:
        delay = partial(_drain_delay, parts)
        yield Step(None, partial(noticed, delay, parts.hurry), leaving="drain delay", limited=False)
    if s.consul is not None and s.registers:
        yield Step("register", partial(registered, parts), leaving="deregister")
    for plugin in filter(announces, s.plugins):
        name = plugin.name
        yield Step(f"announce by {name}", partial(announcing.announced, parts, plugin), leaving=f"withdraw by {name}")
    yield ready(parts)


def ready(parts: Parts) -> Step:
    """The last step of a start, and the first of a stop."""
    return Step("ready", partial(_ready, parts), leaving="not ready")


def _pool(parts: Parts, database: Database) -> AbstractAsyncContextManager[None]:
    return parts.pools.opened(database, parts.configs)


def _queue(parts: Parts, queue: MessageQueue) -> AbstractAsyncContextManager[None]:
    return parts.queues.opened(queue, parts.configs)


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
        limit = parts.settings.stop.step_limit
        parts.watch.expect("exit hooks", limit * (1 + len(life.exit_hooks(parts.runtime))))
        errors += await life.run_exit_hooks(parts.runtime, limit)


@asynccontextmanager
async def _before(step: RunStep, patience: float) -> AsyncIterator[None]:
    await life.run_cancellable(partial(_run, step), patience)
    yield


@asynccontextmanager
async def _after(step: RunStep, limit: float) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await life.run_within(limit, step.name, partial(_run, step))


async def _run(step: RunStep) -> None:
    portal = from_thread.Portal()
    from_thread.enter(portal)
    try:
        await life.run_hook(step.run)
    finally:
        portal.end()


def _drain_delay(parts: Parts) -> float:
    return parts.settings.drain_delay if parts.progress.finished else 0.0


@asynccontextmanager
async def _ready(parts: Parts) -> AsyncIterator[None]:
    parts.health.enter(Phase.SERVING)
    try:
        yield
    finally:
        parts.health.enter(Phase.STOPPING)
