"""What the metrics tell of the parts of a server, beside its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrpc import _runtime
from hrpc.abc import POOL_WAITS, RegistrationReport
from hrpc.server.parts import Parts

if TYPE_CHECKING:
    from hrpc.metrics.call_text import CallText
    from hrpc.metrics.families import Families


def measured(parts: Parts, calls: CallText) -> Families:
    """What is measured beside the calls: by hrpc, by the service, and by what is in prometheus_client's registry."""
    from prometheus_client.registry import REGISTRY

    from hrpc.metrics.collectors import InstrumentCollector, MeasureCollector
    from hrpc.metrics.families import Families

    _measure(parts)
    own = InstrumentCollector(parts.name, _runtime.early_metrics, parts.runtime.metrics)
    return Families(calls.names, lambda: (*map(MeasureCollector, parts.measures), *own.each(), REGISTRY))


def _measure(parts: Parts) -> None:
    """Adds them to the parts' measures, which are read when they are scraped."""
    measures, gauge = parts.measures, parts.measures.gauge
    gauge("hrpc_pool_connections", "Connections of a pool.", parts.pools.connections, ("pool", "state"))
    gauge(
        "hrpc_pool_outdated",
        "1 while a pool could not be opened with its newest settings, else 0.",
        parts.pools.outdated,
        ("pool",),
        workers="max",
    )
    measures.histogram(
        "hrpc_pool_wait_seconds",
        "How long callers waited until they had a connection.",
        parts.pools.waits,
        POOL_WAITS,
        ("pool",),
    )
    measures.counter(
        "hrpc_pool_timeouts",
        "Callers that gave up waiting for a connection, after acquire_timeout.",
        parts.pools.timeouts,
        ("pool",),
    )
    measures.counter("hrpc_pool_opened", "Connections that were made.", parts.pools.made, ("pool",))
    measures.counter("hrpc_pool_closed", "Connections that were closed.", parts.pools.closed, ("pool", "reason"))
    measures.counter("hrpc_pool_failed", "Attempts to connect that failed.", parts.pools.failed, ("pool", "reason"))
    gauge("hrpc_pool_waiting", "Callers that wait for a connection.", parts.pools.waiting, ("pool",))
    gauge(
        "hrpc_registered",
        "1 when Consul lists this instance, else 0.",
        lambda: None if parts.consul is None or not parts.settings.registers else float(parts.consul.present),
        workers="max",
    )
    gauge(
        "hrpc_consul_token_known",
        "0 when Consul does not know the ACL token, because it has expired or was deleted, else 1.",
        lambda: None if parts.consul is None else float(parts.consul.token_known),
        workers="min",
    )
    measures.counter(
        "hrpc_consul_denied",
        "Requests that Consul has denied to the ACL token.",
        lambda: None if parts.consul is None else parts.consul.denied,
    )
    gauge(
        "hrpc_snapshot_age_seconds",
        "Age of the oldest value that is used from the snapshot; not there when none is.",
        lambda: None if parts.consul is None else parts.consul.snapshot_age(),
        workers="max",
    )
    gauge(
        "hrpc_snapshot_written_timestamp_seconds",
        "When the snapshot was last written, in seconds since 1970.",
        lambda: None if parts.consul is None else parts.consul.snapshot_written,
        workers="max",
    )
    gauge(
        "hrpc_maintenance",
        "1 when the service has taken this instance out of rotation, else 0.",
        lambda: float(parts.health.maintenance is not None),
        workers="max",
    )
    measures.counter(
        "hrpc_registered_again",
        "How often the registration was missing or different in Consul, and was sent again.",
        lambda: None if parts.consul is None else _puts_again(parts.consul.report()),
    )
    gauge(
        "hrpc_upstream_age_seconds",
        "Seconds since Consul confirmed the instances.",
        lambda: {} if parts.directory is None else parts.directory.ages(),
        ("service",),
        workers="max",
    )
    gauge(
        "hrpc_config_age_seconds",
        "Seconds since Consul confirmed the value.",
        lambda: {} if parts.configs is None else parts.configs.ages(),
        ("key",),
        workers="max",
    )
    measures.counter(
        "hrpc_config_refused",
        "Values of a key that were refused, because they are not what the service expects.",
        lambda: {} if parts.configs is None else parts.configs.refused(),
        ("key",),
    )
    measures.counter(
        "hrpc_config_handler_failures",
        "Handlers of changes of a key that failed.",
        lambda: {} if parts.configs is None else parts.configs.failures(),
        ("key",),
    )
    gauge(
        "hrpc_certificate_expiry_timestamp_seconds",
        "When a certificate in use expires, in seconds since 1970.",
        lambda: {end: at.timestamp() for end, files in parts.certificates.items() if (at := files.now.expires)},
        ("end",),
        workers="min",
    )
    measures.counter(
        "hrpc_log_dropped",
        "Log lines that were dropped, because nobody read the output.",
        lambda: None if parts.audit is None else parts.audit.dropped,
    )
    parts.guards.measure(measures)
    if parts.breakers is not None:
        parts.breakers.measure(measures)


def _puts_again(report: RegistrationReport | None) -> float | None:
    return None if report is None else report.puts_again
