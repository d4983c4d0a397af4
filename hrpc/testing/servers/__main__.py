"""Consul, MySQL and Redis on their usual ports of 127.0.0.1 until Ctrl-C: ``python -m hrpc.testing.servers``.

The settings of both databases are in Consul KV, where a server of the environment ``development`` looks for them. The
password of MySQL is ``MYSQL_PASSWORD``, or a new one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request

from hrpc.testing.servers import (
    ConsulServer,
    MySQLServer,
    RedisServer,
    ServerFailed,
    ServerMissing,
    consul_server,
    mysql_server,
    redis_server,
)


def main() -> None:
    """Runs the three servers until SIGINT or SIGTERM; exits with 1 when one cannot be had."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            consul_server(port=8500) as consul,
            mysql_server(port=3306, password=os.environ.get("MYSQL_PASSWORD")) as mysql,
            redis_server(port=6379) as redis,
        ):
            store_settings(consul, mysql, redis)
            for server in (consul, mysql, redis):
                print(f"{server.name:<7} {server.address:<16} {server.source}")
            print(f"MySQL login: user {mysql.username}, password {mysql.password}, database {mysql.database}")
            print("Ctrl-C ends them, and their data go with them.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    except (ServerMissing, ServerFailed) as error:
        sys.exit(str(error))


def store_settings(consul: ConsulServer, mysql: MySQLServer, redis: RedisServer) -> None:
    """Writes ``development/databases/mysql`` and ``…/redis`` into Consul KV, as servers read them."""
    settings = {
        "mysql": {
            "address": mysql.host,
            "port": mysql.port,
            "username": mysql.username,
            "password": mysql.password,
            "dbname": mysql.database,
        },
        "redis": {"address": redis.host, "port": redis.port, "db": 0},
    }
    for name, values in settings.items():
        url = f"http://{consul.address}/v1/kv/development/databases/{name}"
        request = urllib.request.Request(url, json.dumps(values).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=5).close()


if __name__ == "__main__":
    main()
