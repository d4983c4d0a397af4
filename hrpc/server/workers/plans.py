"""What the lives of a master and of a worker consist of: together, of what the life of a server alone does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from hrpc import listener
from hrpc.engine.choice import chosen
from hrpc.server import discovery, explaining, plan
from hrpc.server.parts import Parts
from hrpc.server.plugins import pages
from hrpc.server.serving import bound
from hrpc.server.steps import Step
from hrpc.server.workers.supervision import Supervision, patience

_OPTION = "hrpc.with_listen_port"


def of_master(parts: Parts, supervision: Supervision, errors: list[Exception]) -> Iterator[Step]:
    """The steps of the process that keeps the workers: it is what others see of the service."""
    s = parts.settings
    yield plan.logged(parts)
    yield Step("control", parts.control.opened)
    if s.consul is not None:
        yield Step("consul", partial(discovery.consul, parts, s.consul))
    yield from plan.probed(parts)
    yield from plan.drained(parts, errors)
    yield Step("bind", partial(_held, parts), leaving="close port")
    yield Step("workers", partial(_kept, parts, supervision), leaving="drain", limited=False)
    yield from plan.announced(parts)
    yield Step(None, partial(_leaving, parts), leaving="workers not ready")


def of_worker(parts: Parts, errors: list[Exception]) -> Iterator[Step]:
    """The steps of a process that serves. It listens last: what reaches its port may go to others meanwhile."""
    engine = chosen(parts.settings, shared=True)
    assert parts.link is not None
    parts.link.on("discovery", partial(explaining.discovery, parts))
    pages.answer_master(parts)
    yield plan.logged(parts)
    if parts.settings.metrics_port is not None:
        yield Step(None, partial(_measured, parts), leaving="metrics told")
    yield from plan.needed(parts, errors)
    yield from plan.prepared(parts)
    yield Step("bind", partial(bound, parts, engine), leaving="close port")
    yield from plan.answered(parts, engine)
    yield plan.ready(parts)


def _measured(parts: Parts) -> AbstractAsyncContextManager[None]:
    from hrpc.server.workers import gathering  # and with it prometheus_client, for those who have metrics

    return gathering.told(parts)


@asynccontextmanager
async def _held(parts: Parts) -> AsyncIterator[None]:
    """Keeps the port for the workers, which share it; nobody listens on it yet. Raises `PortTaken` or `BindError`."""
    host, port = parts.settings.host, parts.settings.port
    with listener.held("gRPC", host, port, _OPTION) as held:
        parts.port = held.getsockname()[1]
        yield


@asynccontextmanager
async def _kept(parts: Parts, supervision: Supervision) -> AsyncIterator[None]:
    assert parts.workers is not None
    assert parts.port is not None
    async with supervision.serving(parts.port, parts.hurry):
        yield
        parts.draining.begin()
        # The stops of the workers, from their drain to the last of their steps.
        parts.watch.expect("the end of the workers", patience(parts.settings) + parts.settings.stop.step_limit)


@asynccontextmanager
async def _leaving(parts: Parts) -> AsyncIterator[None]:
    """Tells the workers at once when the service is to stop: their gRPC health says so before they take no call."""
    yield
    assert parts.workers is not None
    parts.workers.tell_all("leaving")
