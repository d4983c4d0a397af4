"""Counts of calls as text: a server may have a thousand methods, and each is twenty lines of every scrape.

Written here and not by prometheus_client, which takes the event loop for twenty times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from time import monotonic, time

from prometheus_client.openmetrics.exposition import escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString

from hrpc.metrics.calls import Calls, Example, MethodCalls
from hrpc.status import code_label

METHODS_AT_ONCE = 50
"""Methods that are written without a pause, which takes about a millisecond."""

# It is the caller who says what the trace id is, and not every parser copes with escaped characters in an exemplar.
_TRACE_ID = re.compile(r"[!#-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class Spelling:
    """What scrapers differ in: whether they read OpenMetrics, and how they want names that they do not know.

    `escaping` is one of https://prometheus.io/docs/instrumenting/escaping_schemes/.
    """

    openmetrics: bool
    escaping: str = "underscores"

    def name(self, name: str) -> str:
        """The name of a metric."""
        return escape_metric_name(name, self.escaping)

    def label(self, name: str) -> str:
        """The name of a label."""
        return escape_label_name(name, self.escaping)


@dataclass(slots=True)
class _Family:
    name: str
    kind: str
    help: str
    lines: list[str] = field(default_factory=list)

    def text(self, spelling: Spelling) -> str:
        # Of a counter, OpenMetrics names the family without the suffix, the older format with it.
        suffix = "_total" if self.kind == "counter" and not spelling.openmetrics else ""
        name = spelling.name(self.name + suffix)
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n{''.join(self.lines)}"


class CallText:
    """The calls of a server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._bounds = [*map(floatToGoString, calls.buckets), "+Inf"]

    @property
    def names(self) -> list[tuple[str, str]]:
        """The name of each family, and its type."""
        return [(family.name, family.kind) for family in _families()]

    def pieces(self, spelling: Spelling) -> Iterator[bytes]:
        """All families, without an end. Between two pieces, which may be empty, the caller can let others run."""
        families = _families()
        started, handled, received, sent, _, in_flight = (_writer(family, spelling) for family in families)
        seconds = self._histogram_writer(families[4], spelling)
        kind, service, name, code = (spelling.label(f"grpc_{label}") for label in ("type", "service", "method", "code"))
        codes: dict[str, str] = {}
        for number, method in enumerate(self._calls, 1):
            labels = f'{name}="{_escaped(method.method)}",{service}="{_escaped(method.service)}",{kind}="{method.kind}"'
            started(labels, method.started)
            for status, count in method.handled.items():
                label = codes.get(status.name) or codes.setdefault(status.name, f'{code}="{code_label(status)}",')
                handled(label + labels, count)
            # A method without a message is left out, as Prometheus' libraries do with labels that were not used yet.
            if messages := method.messages_received:
                received(labels, messages)
            if messages := method.messages_sent:
                sent(labels, messages)
            seconds(labels, method)
            in_flight(labels, method.in_flight)
            if number % METHODS_AT_ONCE == 0:
                yield b""
        for family in families:
            yield family.text(spelling).encode(errors="replace")

    def _histogram_writer(self, family: _Family, spelling: Spelling) -> Callable[[str, MethodCalls], None]:
        bucket, count, total = (spelling.name(family.name + suffix) for suffix in ("_bucket", "_count", "_sum"))
        bounds = [f',{spelling.label("le")}="{bound}"}} ' for bound in self._bounds]
        lines, examples = family.lines, spelling.openmetrics

        def write(labels: str, method: MethodCalls) -> None:
            head = f"{bucket}{{{labels}"
            below = 0
            for bound, below, example in zip(bounds, accumulate(method.buckets), method.examples, strict=True):
                lines.append(f"{head}{bound}{below}{_exemplar(example) if examples and example else ''}\n")
            lines.append(f"{count}{{{labels}}} {below}\n")
            lines.append(f"{total}{{{labels}}} {method.seconds!r}\n")

        return write


def _families() -> list[_Family]:
    return [
        _Family("grpc_server_started", "counter", "Calls that were started."),
        _Family("grpc_server_handled", "counter", "Calls that ended."),
        _Family("grpc_server_msg_received", "counter", "Messages of callers."),
        _Family("grpc_server_msg_sent", "counter", "Messages to callers."),
        _Family("grpc_server_handling_seconds", "histogram", "Seconds from start to end."),
        _Family("grpc_server_in_flight", "gauge", "Calls that run now."),
    ]


def _writer(family: _Family, spelling: Spelling) -> Callable[[str, int], None]:
    name = spelling.name(family.name + ("_total" if family.kind == "counter" else ""))
    append = family.lines.append

    def write(labels: str, value: int) -> None:
        append(f"{name}{{{labels}}} {value}\n")

    return write


def _exemplar(example: Example) -> str:
    trace_id, took, ended = example
    if not _TRACE_ID.fullmatch(trace_id):
        return ""
    at = time() - monotonic() + ended
    return f' # {{trace_id="{trace_id}"}} {took!r} {at:.3f}'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
