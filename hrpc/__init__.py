"""hrpc: start a gRPC service the way production runs it.

::

    import hrpc

    server = hrpc.new_server(hrpc.with_server_name("greeter"))
    greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
    server.serve()
"""

from hrpc import configs, database, errors, from_thread, life, log, metrics, service
from hrpc._version import __version__
from hrpc.context import Context, background_context
from hrpc.errors import HrpcError
from hrpc.option import (
    Consul,
    Environment,
    Option,
    with_audit_log,
    with_auth,
    with_channelz,
    with_circuit_breaker,
    with_client_certs,
    with_compression,
    with_concurrency_limit,
    with_consul,
    with_databases,
    with_debug,
    with_default_timeout,
    with_engine,
    with_environment,
    with_error_details,
    with_event_loop,
    with_exit_listeners,
    with_graceful_stop,
    with_handler_threads,
    with_health_check,
    with_interceptors,
    with_keepalive,
    with_listen_port,
    with_max_streams,
    with_message_limits,
    with_metrics,
    with_not_found,
    with_rate_limit,
    with_reflection,
    with_registration,
    with_restart_listeners,
    with_server_certs,
    with_server_name,
    with_stack_skip,
    with_target,
    with_tracing,
    with_upstreams,
)
from hrpc.rpc.interceptors import client_interceptors
from hrpc.server import Server, new_server
from hrpc.tasks import go

__all__ = [
    "Consul",
    "Context",
    "Environment",
    "HrpcError",
    "Option",
    "Server",
    "__version__",
    "background_context",
    "client_interceptors",
    "configs",
    "database",
    "errors",
    "from_thread",
    "go",
    "life",
    "log",
    "metrics",
    "new_server",
    "service",
    "with_audit_log",
    "with_auth",
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
    "with_interceptors",
    "with_keepalive",
    "with_listen_port",
    "with_max_streams",
    "with_message_limits",
    "with_metrics",
    "with_not_found",
    "with_rate_limit",
    "with_reflection",
    "with_registration",
    "with_restart_listeners",
    "with_server_certs",
    "with_server_name",
    "with_stack_skip",
    "with_target",
    "with_tracing",
    "with_upstreams",
]
