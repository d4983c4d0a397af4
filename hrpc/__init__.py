"""hrpc: start a gRPC service the way production runs it.

::

    import hrpc

    server = hrpc.new_server(hrpc.with_server_name("greeter"))
    greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
    server.serve()
"""

from importlib import import_module

from hrpc._version import __version__

TYPE_CHECKING = False
"""As ``typing.TYPE_CHECKING``, whose import alone would take as long as all else here."""

if TYPE_CHECKING:
    from hrpc import (
        configs,
        database,
        errors,
        from_thread,
        health,
        life,
        log,
        metrics,
        plugin,
        queues,
        service,
        uniqueid,
    )
    from hrpc.context import Context, background_context
    from hrpc.errors import HrpcError
    from hrpc.leaving import draining
    from hrpc.life import worker
    from hrpc.option import (
        BalancerSettings,
        Consul,
        Environment,
        Option,
        Priority,
        with_audit_log,
        with_auth,
        with_balancer,
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
        with_hedging,
        with_interceptors,
        with_keepalive,
        with_listen_port,
        with_log_file,
        with_log_times,
        with_max_streams,
        with_message_limits,
        with_message_queues,
        with_metrics,
        with_node_id,
        with_not_found,
        with_ping,
        with_plugins,
        with_post_run,
        with_pre_run,
        with_rate_limit,
        with_reflection,
        with_registration,
        with_restart_listeners,
        with_retry,
        with_server_certs,
        with_server_name,
        with_services,
        with_snapshot,
        with_stack_skip,
        with_start_limit,
        with_static_services,
        with_target,
        with_tracing,
        with_upstreams,
        with_workers,
    )
    from hrpc.rpc.interceptors import client_interceptors
    from hrpc.server import Server, new_server
    from hrpc.tasks import go

__all__ = [
    "BalancerSettings",
    "Consul",
    "Context",
    "Environment",
    "HrpcError",
    "Option",
    "Priority",
    "Server",
    "__version__",
    "background_context",
    "client_interceptors",
    "configs",
    "database",
    "draining",
    "errors",
    "from_thread",
    "go",
    "health",
    "life",
    "log",
    "metrics",
    "new_server",
    "plugin",
    "queues",
    "service",
    "uniqueid",
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
    "worker",
]

# Names come from their homes when they are first asked for (PEP 562): the commands that a container runs every few
# seconds have no time to import gRPC, which nearly all of them need. The home of options and of classes that are not
# here is hrpc.option; what is left is a module.
_HOMES = {
    "Context": "hrpc.context",
    "HrpcError": "hrpc.errors",
    "Server": "hrpc.server",
    "background_context": "hrpc.context",
    "client_interceptors": "hrpc.rpc.interceptors",
    "draining": "hrpc.leaving",
    "go": "hrpc.tasks",
    "new_server": "hrpc.server",
    "worker": "hrpc.life",
}


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(f"module 'hrpc' has no attribute {name!r}")
    is_option = name.startswith("with_") or name[0].isupper()
    home = _HOMES.get(name, "hrpc.option" if is_option else None)
    if home is not None:
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value
    try:
        return import_module(f"hrpc.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"hrpc.{name}":
            raise  # the module is there, and what it needs is not
    raise AttributeError(f"module 'hrpc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
