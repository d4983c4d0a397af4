"""The services of fault tests: small, and on this machine."""

from __future__ import annotations

import hrpc
from tests.echo import add_echo


def a_server(name: str, consul: hrpc.Consul, *options: hrpc.Option) -> hrpc.Server:
    """A server with an echo, registered at an agent, that leaves without waiting for callers."""
    server = hrpc.new_server(
        hrpc.with_server_name(name),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(consul),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc.with_audit_log(False),
        *options,
    )
    add_echo(server)
    return server
