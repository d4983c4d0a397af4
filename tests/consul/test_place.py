"""Datacenter, namespace and partition: what is sent, and what an agent says that has none."""

from __future__ import annotations

import pytest

from hrpc.abc import Check, Registration
from hrpc.consul import connect
from hrpc.errors import ConsulRefused, OptionError
from hrpc.option import Consul
from hrpc.option.consul import from_environment
from hrpc.testing.servers import ConsulServer
from tests.consul.scripted import scripted


async def test_a_namespace_and_a_partition_are_sent_with_every_request() -> None:
    async with scripted() as agent:
        consul = Consul(address=agent.address, namespace="team-a", partition="eu", datacenter="dc2")
        check = Check("http", "http://127.0.0.1:9/", 60.0, 1.0, 60.0)
        entry = Registration("a-1", "a", "127.0.0.1", 4000, (), {}, 1, check)
        async with connect(consul) as client:
            assert await client.read("key") == b"held"
            async with client.registered(entry):
                pass
        paths = {asked.path for asked in agent.asked}
        assert {"/v1/catalog/services", "/v1/kv/key", "/v1/agent/service/register"} <= paths
        assert all((asked.query["ns"], asked.query["partition"]) == ("team-a", "eu") for asked in agent.asked)
        assert [asked.query.get("dc") for asked in agent.asked if asked.path == "/v1/catalog/services"] == ["dc2"]


async def test_what_is_not_given_is_not_sent() -> None:
    async with scripted() as agent, connect(Consul(address=agent.address)):
        pass
    assert all(not {"ns", "partition", "dc"} & asked.query.keys() for asked in agent.asked)


async def test_an_open_source_agent_has_no_namespaces_and_the_start_says_so(consul: ConsulServer) -> None:
    with pytest.raises(ConsulRefused, match=r"not Consul Enterprise.*leave out Consul\(namespace=…, partition=…\)"):
        async with connect(Consul(address=consul.address, namespace="team-a")):
            pass


async def test_a_datacenter_that_does_not_exist_is_told_at_the_start(consul: ConsulServer) -> None:
    with pytest.raises(ConsulRefused, match="knows no datacenter 'moon': check Consul"):
        async with connect(Consul(address=consul.address, datacenter="moon")):
            pass


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a-", "a" * 65, "ü"])
def test_names_that_consul_would_not_take_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="1 to 64 letters"):
        Consul(namespace=name)
    with pytest.raises(OptionError, match="1 to 64 letters"):
        Consul(partition=name)


def test_the_variables_of_consul_stand_in_for_what_the_code_does_not_say() -> None:
    environ = {
        "CONSUL_NAMESPACE": "team-a",
        "CONSUL_PARTITION": "eu",
        "CONSUL_TLS_SERVER_NAME": "server.dc1.consul",
        "CONSUL_CAPATH": "/etc/consul/authorities",
    }
    consul = from_environment(Consul(), environ)
    assert consul is not None
    assert (consul.namespace, consul.partition) == ("team-a", "eu")
    assert (consul.tls_server_name, consul.ca_cert) == ("server.dc1.consul", "/etc/consul/authorities")
    both = from_environment(Consul(namespace="team-b"), {**environ, "CONSUL_CACERT": "/etc/ca.pem"})
    assert both is not None
    assert (both.namespace, both.ca_cert) == ("team-b", "/etc/ca.pem")
