"""The contracts between hrpc and what it is made of. Nothing here knows a driver, Consul or an engine."""

from hrpc.abc.database import POOL_WAITS, Counted, Database, Pool, PoolActivity, PoolStats, StoredSettings
from hrpc.abc.discovery import (
    KEEPALIVE_META,
    VERSION_META,
    ZONE_META,
    Discovery,
    Instance,
    KeyValue,
    Selection,
    Watched,
    WatchReport,
    endpoint,
    local,
)
from hrpc.abc.engine import Admission, Engine, Handler, KnownMethods
from hrpc.abc.extension import PLUGIN_API_VERSION, GrpcService, HostedService, Plugin, Report
from hrpc.abc.queue import MessageQueue
from hrpc.abc.registry import Check, Registration, RegistrationReport, Registry
from hrpc.abc.tracing import OutgoingSpan, RequestSpan, SendingSpan, Span, Tracer

__all__ = [
    "KEEPALIVE_META",
    "PLUGIN_API_VERSION",
    "POOL_WAITS",
    "VERSION_META",
    "ZONE_META",
    "Admission",
    "Check",
    "Counted",
    "Database",
    "Discovery",
    "Engine",
    "GrpcService",
    "Handler",
    "HostedService",
    "Instance",
    "KeyValue",
    "KnownMethods",
    "MessageQueue",
    "OutgoingSpan",
    "Plugin",
    "Pool",
    "PoolActivity",
    "PoolStats",
    "Registration",
    "RegistrationReport",
    "Registry",
    "Report",
    "RequestSpan",
    "Selection",
    "SendingSpan",
    "Span",
    "StoredSettings",
    "Tracer",
    "WatchReport",
    "Watched",
    "endpoint",
    "local",
]
