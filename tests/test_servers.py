from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer


def test_all(consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer, own_mariadb: MySQLServer) -> None:
    assert consul.answers()
    assert mariadb.answers()
    assert own_mariadb.answers()
    assert redis_server.answers()
