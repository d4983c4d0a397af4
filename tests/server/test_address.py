"""The advertised address: explicit, then the environment, then the route; never one that nobody can connect to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc.abc import endpoint
from hrpc.errors import OptionError
from hrpc.option import Consul
from hrpc.server.address import advertised

LOCAL = Consul(address="127.0.0.1:8500")
LOCAL_BY_NAME = Consul(address="localhost:8500")
LOCAL_BY_INTERFACE = Consul(address="10.0.0.6:8500")
LOCAL_6 = Consul(address="http://[::1]:8500")
REMOTE = Consul(address="10.1.0.1:8500")
REMOTE_6 = Consul(address="http://[fd00::1]:8500")
SOCKET = Consul(address="unix:///run/consul.sock")

HERE = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1", "10.0.0.6": "10.0.0.6"}
NETWORK = {**HERE, "10.1.0.1": "10.0.0.6", "192.0.2.1": "10.0.0.6"}
NETWORK_6 = {**HERE, "fd00::1": "fd00::2", "2001:db8::1": "fd00::2"}


@pytest.mark.parametrize(
    ("explicit", "environ", "consul", "host", "routes", "expected"),
    [
        # What is said wins, in this order.
        ("10.0.0.9", {"HRPC_ADVERTISE": "10.0.0.8"}, REMOTE, "0.0.0.0", {}, "10.0.0.9"),
        (None, {"HRPC_ADVERTISE": "10.0.0.8", "POD_IP": "10.0.0.7"}, REMOTE, "0.0.0.0", {}, "10.0.0.8"),
        (None, {"POD_IP": "10.0.0.7"}, REMOTE, "0.0.0.0", NETWORK, "10.0.0.7"),
        (None, {"HRPC_ADVERTISE": "", "POD_IP": " 10.0.0.7\n"}, REMOTE, "0.0.0.0", NETWORK, "10.0.0.7"),
        (None, {"POD_IP": "10.0.0.7"}, REMOTE, "10.0.0.5", NETWORK, "10.0.0.7"),
        (None, {}, REMOTE, "10.0.0.5", NETWORK, "10.0.0.5"),
        (None, {}, REMOTE, "fd00::5", NETWORK, "fd00::5"),
        ("orders.internal", {}, REMOTE, "0.0.0.0", {}, "orders.internal"),
        # A container: the address on the way to the agent, and not that of another interface.
        (None, {}, REMOTE, "0.0.0.0", NETWORK, "10.0.0.6"),
        (None, {}, REMOTE, "0.0.0.0", {"10.1.0.1": "172.17.0.3", "192.0.2.1": "192.168.1.4"}, "172.17.0.3"),
        (None, {}, REMOTE_6, "::", NETWORK_6, "fd00::2"),
        (None, {}, REMOTE_6, "::", {"fd00::1": "fe80::2%eth0", "192.0.2.1": "10.0.0.6"}, "10.0.0.6"),
        # An agent on this machine, which others do not see the loopback of.
        (None, {}, LOCAL, "0.0.0.0", NETWORK, "10.0.0.6"),
        (None, {}, LOCAL_BY_NAME, "0.0.0.0", NETWORK, "10.0.0.6"),
        (None, {}, LOCAL_6, "::", NETWORK_6, "fd00::2"),
        (None, {}, LOCAL, "0.0.0.0", NETWORK_6, "fd00::2"),
        (None, {}, SOCKET, "0.0.0.0", NETWORK, "10.0.0.6"),
        # The loopback, for a machine without a network and for an agent on the same one.
        (None, {}, LOCAL, "0.0.0.0", HERE, "127.0.0.1"),
        (None, {}, LOCAL_6, "::", HERE, "::1"),
        (None, {}, SOCKET, "0.0.0.0", {}, "127.0.0.1"),
        (None, {}, LOCAL, "127.0.0.1", NETWORK, "127.0.0.1"),
        (None, {}, LOCAL_BY_INTERFACE, "127.0.0.1", NETWORK, "127.0.0.1"),
        ("localhost", {}, LOCAL, "0.0.0.0", NETWORK, "localhost"),
        # Brackets belong to an endpoint, and not to an address.
        ("[fd00::9]", {}, REMOTE, "0.0.0.0", {}, "fd00::9"),
        (None, {"HRPC_ADVERTISE": "[fd00::8]"}, REMOTE, "0.0.0.0", {}, "fd00::8"),
    ],
)
def test_the_address_to_register_from_a_container_a_pod_or_a_host(
    explicit: str | None, environ: dict[str, str], consul: Consul, host: str, routes: dict[str, str], expected: str
) -> None:
    assert advertised(explicit, consul, host, environ, lambda to, _: routes.get(to)).address == expected


@pytest.mark.parametrize(
    ("explicit", "environ", "routes", "says"),
    [
        (None, {}, {}, "with_registration"),
        ("0.0.0.0", {}, {}, "nobody can connect to '0.0.0.0'"),
        (None, {"HRPC_ADVERTISE": "::"}, {}, "HRPC_ADVERTISE"),
        (None, {"HRPC_ADVERTISE": "10.0.0.5:8888"}, {}, "HRPC_ADVERTISE: .* no port"),
        (None, {"HRPC_ADVERTISE": "[10.0.0.5"}, {}, "HRPC_ADVERTISE"),
        (None, {"POD_IP": "not an address"}, {}, "POD_IP"),
        (None, {"POD_IP": "10.0.0.256"}, {}, "POD_IP"),
        ("224.0.0.1", {}, {}, "nobody can connect"),
    ],
)
def test_none_at_all_or_an_impossible_one_is_an_error_that_says_what_to_set(
    explicit: str | None, environ: dict[str, str], routes: dict[str, str], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        advertised(explicit, REMOTE, "0.0.0.0", environ, lambda to, _: routes.get(to))


@pytest.mark.parametrize(
    ("explicit", "environ", "host", "says"),
    [
        (None, {}, "0.0.0.0", "no address to register"),
        (None, {}, "127.0.0.1", "with_listen_port"),
        (None, {"POD_IP": "::1"}, "0.0.0.0", "POD_IP"),
        (None, {"HRPC_ADVERTISE": "localhost"}, "0.0.0.0", "HRPC_ADVERTISE"),
        ("::ffff:127.0.0.1", {}, "0.0.0.0", "with_registration"),
    ],
)
def test_the_loopback_is_not_registered_at_an_agent_on_another_machine(
    explicit: str | None, environ: dict[str, str], host: str, says: str
) -> None:
    with pytest.raises(OptionError, match=rf"{says}.*HRPC_ADVERTISE"):
        advertised(explicit, REMOTE, host, environ, lambda to, _: {"192.0.2.1": "127.0.0.1"}.get(to))


addresses = st.ip_addresses().map(str)
routes_to = st.dictionaries(
    st.sampled_from(["10.1.0.1", "fd00::1", "127.0.0.1", "192.0.2.1", "2001:db8::1"]),
    st.one_of(addresses.filter(lambda address: not ipaddress.ip_address(address).is_unspecified), st.just("127.0.0.1")),
)


@given(
    explicit=st.none() | addresses,
    environ=st.dictionaries(st.sampled_from(["HRPC_ADVERTISE", "POD_IP"]), addresses),
    consul=st.sampled_from([LOCAL, REMOTE, REMOTE_6, SOCKET]),
    host=addresses | st.sampled_from(["0.0.0.0", "::", "127.0.0.1"]),
    routes=routes_to,
)
def test_what_is_registered_can_be_connected_to_and_is_the_loopback_only_for_an_agent_on_this_machine(
    explicit: str | None, environ: dict[str, str], consul: Consul, host: str, routes: dict[str, str]
) -> None:
    try:
        found = advertised(explicit, consul, host, environ, lambda to, _: routes.get(to)).address
    except OptionError as error:
        assert "HRPC_ADVERTISE" in str(error) or "nobody can connect" in str(error)
        return
    ip = ipaddress.ip_address(found)
    assert not ip.is_unspecified
    said = [value for value in (explicit, environ.get("HRPC_ADVERTISE"), environ.get("POD_IP")) if value]
    assert not said or found == said[0]
    if ip.is_loopback and consul in (REMOTE, REMOTE_6):
        to_agent = routes[consul.url.partition("//")[2].rpartition(":")[0].strip("[]")]
        assert ipaddress.ip_address(to_agent).is_loopback or to_agent in consul.url
    assert endpoint(found, 1) == (f"[{found}]:1" if ip.version == 6 else f"{found}:1")


def test_the_kernel_is_asked_for_the_route() -> None:
    assert advertised(None, LOCAL, "127.0.0.1", {}) == ("127.0.0.1", "hrpc.with_listen_port(host=…)")
    assert advertised(None, LOCAL, "0.0.0.0", {}).origin in ("the route to Consul", "the default route")
