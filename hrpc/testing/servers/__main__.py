"""Consul, MySQL, Redis and RabbitMQ on their usual ports of 127.0.0.1 until Ctrl-C: ``python -m hrpc.testing.servers``.

The settings of all that a service connects to are in Consul KV, where a server of the environment ``development`` looks
for them. The passwords are ``MYSQL_PASSWORD`` and ``RABBITMQ_PASSWORD``, or new ones. Without RabbitMQ on the machine,
the others run all the same.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack

from hrpc.testing.servers import (
    ConsulServer,
    MySQLServer,
    RabbitMQServer,
    RedisServer,
    ServerFailed,
    ServerMissing,
    consul_server,
    mysql_server,
    rabbitmq_server,
    redis_server,
)


def main() -> None:
    """Runs the servers until SIGINT or SIGTERM; exits with 1 when one cannot be had."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            consul = stack.enter_context(consul_server(port=8500))
            mysql = stack.enter_context(mysql_server(port=3306, password=os.environ.get("MYSQL_PASSWORD")))
            redis = stack.enter_context(redis_server(port=6379))
            rabbitmq = _rabbitmq(stack)
            store_settings(consul, mysql, redis, rabbitmq)
            for server in (consul, mysql, redis, rabbitmq):
                if server is not None:
                    print(f"{server.name:<8} {server.address:<16} {server.source}")
            print(f"MySQL login: user {mysql.username}, password {mysql.password}, database {mysql.database}")
            if rabbitmq is not None:
                print(f"RabbitMQ login: user {rabbitmq.username}, password {rabbitmq.password}, virtual host /")
            print("Ctrl-C ends them, and their data go with them.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except (ServerMissing, ServerFailed) as error:
        sys.exit(str(error))


def _rabbitmq(stack: ExitStack) -> RabbitMQServer | None:
    try:
        return stack.enter_context(rabbitmq_server(port=5672, password=os.environ.get("RABBITMQ_PASSWORD")))
    except ServerMissing as error:
        print(error)  # it is large, and only hrpc-rabbitmq needs it
        return None


def store_settings(
    consul: ConsulServer, mysql: MySQLServer, redis: RedisServer, rabbitmq: RabbitMQServer | None
) -> None:
    """Writes ``development/databases/mysql`` and the like into Consul KV, as servers read them."""
    _store(consul, "databases/mysql", mysql.settings)
    _store(consul, "databases/redis", redis.settings)
    if rabbitmq is not None:
        _store(consul, "messagequeues/rabbitmq", rabbitmq.settings)


def _store(consul: ConsulServer, name: str, values: Mapping[str, object]) -> None:
    url = f"http://{consul.address}/v1/kv/development/{name}"
    request = urllib.request.Request(url, json.dumps(values).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=5).close()


if __name__ == "__main__":
    main()
