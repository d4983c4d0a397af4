"""What a message carries in its headers from the service that sends it to those that handle it, and how sending it is
told: as a span, and in the metrics."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from hrpc import _runtime, context, metrics

_SENT = "queue_sent"


def register_metrics() -> None:
    """Registers what is measured of sent messages, for the life of the server in which it is called."""
    metrics.register_counter(
        _SENT, "Messages that were sent, by what became of them: sent, failed.", ("queue", "topic", "outcome")
    )


@contextmanager
def sending(queue: str, topic: str, headers: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Around the sending of one message: gives the headers to send, which are `headers` and the context of what runs
    now, in ``hrpc_md_message``, ``traceparent`` and the like.

    What is in `headers` already is not touched. The deadline stays here: a message may wait for longer than its sender.
    `queue` is the name of the message queue, and `topic` where the message goes, for traces and metrics.
    """
    tracer = _runtime.tracer()
    span = None if tracer is None else tracer.sending(topic, _attributes(topic))
    failure: BaseException | None = None
    try:
        yield _outgoing(headers, () if span is None else span.metadata)
    except BaseException as error:
        failure = error
        raise
    finally:
        metrics.incr(_SENT, 1, queue=queue, topic=topic, outcome="sent" if failure is None else "failed")
        if span is not None:
            span.end(failure)


def received(headers: Mapping[str, str], timeout: float | None) -> context.Context:
    """The context of a message with these headers, whose handler has `timeout` seconds."""
    found = context.from_metadata((key.lower(), value) for key, value in headers.items())
    found.deadline = None if timeout is None else time.monotonic() + timeout
    return found


def _outgoing(given: Mapping[str, str] | None, of_span: Iterable[tuple[str, str]]) -> dict[str, str]:
    own: dict[str, str] = {}
    current, runtime = context.current(), _runtime.current()
    if current is not None:
        carried = copy.copy(current)
        carried.deadline = None
        own.update(carried.metadata("" if runtime is None else runtime.server_name))
    return {**own, **dict(of_span), **(given or {})}


def _attributes(topic: str) -> dict[str, str | int]:
    # https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
    return {
        "messaging.destination.name": topic,
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
    }
