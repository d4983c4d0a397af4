"""Real servers for tests and the demo, each on a free port of 127.0.0.1: Consul, MySQL (or MariaDB), Redis, RabbitMQ.

::

    with consul_server() as consul, mysql_server() as mysql:
        ...                     # consul.address, mysql.port, mysql.username, …
        mysql.kill()            # SIGKILL, as a machine that dies
        mysql.start()           # the same port and the same data; returns when it answers

A server runs in a container where a Docker engine answers and the image is there already (nothing is pulled), else as
a program of this machine in a temporary folder. It ends with the ``with`` block, and also when this process is killed.
"""

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.consul import ConsulServer, consul_server
from hrpc.testing.servers.errors import ServerFailed, ServerMissing
from hrpc.testing.servers.mysql import MySQLServer, mysql_server
from hrpc.testing.servers.ports import reserved_port
from hrpc.testing.servers.rabbitmq import RabbitMQServer, rabbitmq_server
from hrpc.testing.servers.redis import RedisServer, redis_server
from hrpc.testing.servers.server import Server

__all__ = [
    "Backend",
    "ConsulServer",
    "MySQLServer",
    "RabbitMQServer",
    "RedisServer",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "consul_server",
    "mysql_server",
    "rabbitmq_server",
    "redis_server",
    "reserved_port",
]
