"""The advertised address: explicit, then the environment, then the route; never one that nobody can connect to."""

from __future__ import annotations

import pytest

from hrpc.consul.address import advertised
from hrpc.errors import OptionError
from hrpc.option import Consul

LOCAL = Consul(address="127.0.0.1:8500")
REMOTE = Consul(address="10.1.0.1:8500")
REMOTE_6 = Consul(address="http://[fd00::1]:8500")


@pytest.mark.parametrize(
    ("explicit", "environ", "consul", "host", "routes", "expected"),
    [
        ("10.0.0.9", {"HRPC_ADVERTISE": "10.0.0.8"}, REMOTE, "0.0.0.0", {}, "10.0.0.9"),
        (None, {"HRPC_ADVERTISE": "10.0.0.8", "POD_IP": "10.0.0.7"}, REMOTE, "0.0.0.0", {}, "10.0.0.8"),
        (None, {"POD_IP": "10.0.0.7"}, REMOTE, "0.0.0.0", {"10.1.0.1": "10.0.0.6"}, "10.0.0.7"),
        (None, {}, REMOTE, "10.0.0.5", {"10.1.0.1": "10.0.0.6"}, "10.0.0.5"),
        (None, {}, REMOTE, "0.0.0.0", {"10.1.0.1": "10.0.0.6"}, "10.0.0.6"),
        (None, {}, REMOTE_6, "::", {"fd00::1": "fd00::2"}, "fd00::2"),
        (None, {}, LOCAL, "0.0.0.0", {"127.0.0.1": "127.0.0.1", "192.0.2.1": "10.0.0.6"}, "10.0.0.6"),
        (None, {}, LOCAL, "0.0.0.0", {"127.0.0.1": "127.0.0.1", "2001:db8::1": "fd00::2"}, "fd00::2"),
        (None, {}, LOCAL, "0.0.0.0", {"127.0.0.1": "127.0.0.1"}, "127.0.0.1"),
        (None, {}, Consul(address="unix:///run/consul.sock"), "0.0.0.0", {}, "127.0.0.1"),
        ("[fd00::9]", {}, REMOTE, "0.0.0.0", {}, "fd00::9"),
        ("orders.internal", {}, REMOTE, "0.0.0.0", {}, "orders.internal"),
    ],
)
def test_the_first_that_applies_is_taken(
    explicit: str | None, environ: dict[str, str], consul: Consul, host: str, routes: dict[str, str], expected: str
) -> None:
    assert advertised(explicit, consul, host, environ, lambda to, _: routes.get(to)) == expected


@pytest.mark.parametrize(
    ("explicit", "environ", "routes", "says"),
    [
        (None, {}, {}, "with_registration"),
        ("0.0.0.0", {}, {}, "nobody can connect to '0.0.0.0'"),
        (None, {"HRPC_ADVERTISE": "::"}, {}, "HRPC_ADVERTISE"),
        (None, {"POD_IP": "not an address"}, {}, "POD_IP"),
        ("224.0.0.1", {}, {}, "nobody can connect"),
    ],
)
def test_none_at_all_or_an_impossible_one_is_an_error_that_says_what_to_set(
    explicit: str | None, environ: dict[str, str], routes: dict[str, str], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        advertised(explicit, REMOTE, "0.0.0.0", environ, lambda to, _: routes.get(to))


def test_the_loopback_is_not_registered_at_an_agent_on_another_machine() -> None:
    with pytest.raises(OptionError, match="HRPC_ADVERTISE"):
        advertised(None, REMOTE, "0.0.0.0", {}, lambda to, _: {"192.0.2.1": "127.0.0.1"}.get(to))


def test_the_kernel_is_asked_for_the_route() -> None:
    assert advertised(None, LOCAL, "127.0.0.1", {}) == "127.0.0.1"
    assert advertised(None, LOCAL, "0.0.0.0", {})
