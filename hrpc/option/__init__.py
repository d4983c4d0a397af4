"""What ``new_server`` takes: options, folded into one frozen `Settings`. Nothing here does I/O.

An option is checked where it is made; what only shows when all are known is checked by `fold`. Every error is an
`OptionError` that says which option to change.
"""

from hrpc.option.audit import with_audit_log
from hrpc.option.balancer import Balancers, BalancerSettings
from hrpc.option.balancing import with_balancer
from hrpc.option.calls import with_default_timeout, with_handler_threads
from hrpc.option.consul import Consul
from hrpc.option.debug import DebugSettings
from hrpc.option.diagnostics import with_channelz, with_debug, with_reflection
from hrpc.option.engine import with_engine, with_event_loop
from hrpc.option.errors import with_error_details, with_not_found
from hrpc.option.folding import fold
from hrpc.option.guards import with_auth, with_circuit_breaker, with_concurrency_limit, with_rate_limit
from hrpc.option.hosted import with_ping, with_services
from hrpc.option.life import with_post_run, with_pre_run, with_start_limit
from hrpc.option.log_file import with_log_file
from hrpc.option.log_times import with_log_times
from hrpc.option.metrics import with_metrics
from hrpc.option.native import EngineSettings
from hrpc.option.options import (
    with_consul,
    with_databases,
    with_environment,
    with_exit_listeners,
    with_graceful_stop,
    with_interceptors,
    with_listen_port,
    with_restart_listeners,
    with_server_name,
    with_stack_skip,
    with_target,
    with_upstreams,
)
from hrpc.option.plugins import with_plugins
from hrpc.option.queues import with_message_queues
from hrpc.option.registration import with_health_check, with_registration
from hrpc.option.retries import with_hedging, with_retry
from hrpc.option.retry import HedgingSettings, RetrySettings
from hrpc.option.run_step import Priority, RunStep, in_order
from hrpc.option.settings import (
    AuditSettings,
    Certificates,
    ClientCertificates,
    Environment,
    ErrorSettings,
    HostedSettings,
    Keepalive,
    MessageLimits,
    Option,
    RegistrationSettings,
    Settings,
    SnapshotSettings,
    StaticServices,
    StopSettings,
    Timeouts,
    TracingSettings,
    of_method,
)
from hrpc.option.snapshot import with_snapshot
from hrpc.option.static import with_static_services
from hrpc.option.tls import with_client_certs, with_server_certs
from hrpc.option.tracing import with_tracing
from hrpc.option.transport import with_compression, with_keepalive, with_max_streams, with_message_limits
from hrpc.option.uniqueid import with_node_id
from hrpc.option.workers import with_workers

__all__ = [
    "AuditSettings",
    "BalancerSettings",
    "Balancers",
    "Certificates",
    "ClientCertificates",
    "Consul",
    "DebugSettings",
    "EngineSettings",
    "Environment",
    "ErrorSettings",
    "HedgingSettings",
    "HostedSettings",
    "Keepalive",
    "MessageLimits",
    "Option",
    "Priority",
    "RegistrationSettings",
    "RetrySettings",
    "RunStep",
    "Settings",
    "SnapshotSettings",
    "StaticServices",
    "StopSettings",
    "Timeouts",
    "TracingSettings",
    "fold",
    "in_order",
    "of_method",
    "with_audit_log",
    "with_auth",
    "with_balancer",
    "with_channelz",
    "with_circuit_breaker",
    "with_client_certs",
    "with_compression",
    "with_concurrency_limit",
    "with_consul",
    "with_databases",
    "with_debug",
    "with_default_timeout",
    "with_engine",
    "with_environment",
    "with_error_details",
    "with_event_loop",
    "with_exit_listeners",
    "with_graceful_stop",
    "with_handler_threads",
    "with_health_check",
    "with_hedging",
    "with_interceptors",
    "with_keepalive",
    "with_listen_port",
    "with_log_file",
    "with_log_times",
    "with_max_streams",
    "with_message_limits",
    "with_message_queues",
    "with_metrics",
    "with_node_id",
    "with_not_found",
    "with_ping",
    "with_plugins",
    "with_post_run",
    "with_pre_run",
    "with_rate_limit",
    "with_reflection",
    "with_registration",
    "with_restart_listeners",
    "with_retry",
    "with_server_certs",
    "with_server_name",
    "with_services",
    "with_snapshot",
    "with_stack_skip",
    "with_start_limit",
    "with_static_services",
    "with_target",
    "with_tracing",
    "with_upstreams",
    "with_workers",
]
