"""The settings of `hrpc_sidecar.with_sidecar`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.option import checks
from hrpc_sidecar import place
from hrpc_sidecar.runner import OnError

OPTION = "hrpc_sidecar.with_sidecar"


class SidecarOptions(TypedDict, total=False):
    """What ``with_sidecar()`` takes beside the URL; `SidecarSettings` has the defaults. Times are in seconds."""

    watch_url: str | None
    app_id: str | None
    namespace: str
    type: str
    cluster_domain: str
    request_timeout: float
    reconnect_interval: float
    idle_limit: float | None
    fail_fast: bool
    beside_consul: bool
    on_error: OnError | None


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """The settings, checked; times are in seconds. Raises `hrpc.errors.OptionError`, of which one is
    `WatchUrlRequired`."""

    base_url: str = place.DEFAULT_BASE_URL
    """Where the agent is."""
    watch_url: str | None = None
    """Its stream of events: that of `base_url` with ``/watch`` unless given."""
    app_id: str | None = None
    """The id of the application: the name of the server unless given."""
    namespace: str = "default"
    type: str = "svc"
    cluster_domain: str = "cluster.local"
    """With the two before it, parts of the service's DNS name."""
    request_timeout: float = 3.0
    """For a request, and for the beginning of the stream."""
    reconnect_interval: float = 1.0
    """At most, between the end of a stream and the next attempt."""
    idle_limit: float | None = 60.0
    """After which a stream that sends nothing is left; None for never."""
    fail_fast: bool = False
    """Whether the start fails when the agent has not taken the registration within `request_timeout`."""
    beside_consul: bool = False
    """Whether the server registers with Consul as well."""
    on_error: OnError | None = None
    """Called with each error of the stream and of registering; the log has each kind once in an outage."""

    def __post_init__(self) -> None:
        base_url = place.base_url(self.base_url)
        object.__setattr__(self, "watch_url", place.watch_url(self.watch_url, base_url))
        object.__setattr__(self, "base_url", base_url)
        checks.seconds(OPTION, "request_timeout", self.request_timeout, 0.01)
        checks.seconds(OPTION, "reconnect_interval", self.reconnect_interval, 0.001)
        if self.idle_limit is not None:
            checks.seconds(OPTION, "idle_limit", self.idle_limit, 0.01)
        checks.text(OPTION, "namespace", self.namespace)
        checks.text(OPTION, "type", self.type)
        checks.text(OPTION, "cluster_domain", self.cluster_domain)
        if self.app_id is not None:
            checks.text(OPTION, "app_id", self.app_id)
