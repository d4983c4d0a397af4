"""What an agent is told about a service."""

from __future__ import annotations

import json
import platform
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from sidecar_service import SECRET, options

from hrpc.errors import OptionError
from hrpc_sidecar import (
    ApiClient,
    App,
    Service,
    ServiceNode,
    ServiceOptions,
    SidecarSettings,
    WatchSource,
    WatchUrlRequired,
    method_paths,
)
from hrpc_sidecar.place import base_url


def test_a_node_is_what_its_options_and_methods_say() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    paths = ["/shop.Orders/Put", "/shop.Orders/Get", "/shop.Stock/Get", "/shop.Orders/Get"]
    assert ServiceNode(options(), paths, run_date=at).as_dict() == {
        "app": {
            "id": "app-1",
            "name": "shop",
            "instance_id": "orders-1",
            "env": "production",
            "version": "1.2",
            "secret": "",
        },
        "kernel": {"language": "python", "version": platform.python_version()},
        "service": {
            "name": "orders",
            "port": 9090,
            "type": "svc",
            "namespace": "default",
            "cluster_domain": "cluster.local",
            "weight": 100,
        },
        "protocol": "grpc",
        "server_port": 9090,
        "managed_port": 0,
        "dns": "orders.default.svc.cluster.local:9090",
        "run_date": "2026-01-02T03:04:05Z",
        "proto_count": 2,
        "methods": ["/shop.Orders/Get", "/shop.Orders/Put", "/shop.Stock/Get"],
    }


def test_methods_are_those_of_descriptors_too() -> None:
    file = FileDescriptorProto(name="orders.proto", package="shop")
    file.message_type.add(name="Order")
    service = file.service.add(name="Orders")
    for name in ("Put", "Get"):
        service.method.add(name=name, input_type=".shop.Order", output_type=".shop.Order")
    pool = DescriptorPool()
    pool.Add(file)
    found = method_paths([pool.FindServiceByName("shop.Orders"), "/a.B/C"])
    assert found == ("/a.B/C", "/shop.Orders/Get", "/shop.Orders/Put")


def test_requests_of_a_stop_name_the_instance() -> None:
    node = ServiceNode(options())
    ids = {"app_id": "app-1", "app_instance_id": "orders-1", "service_name": "orders"}
    assert node.drain_request(20) == {**ids, "grace_period": "20s"}
    for seconds, text in ((0.5, "0.5s"), (5.25, "5.25s"), (100, "100s"), (2e6, "2000000s"), (1e-3, "0.001s")):
        assert node.drain_request(seconds)["grace_period"] == text, "as Go's time.ParseDuration reads it"
    assert node.deregister_request() == {**ids, "service_port": 9090}


def test_the_secret_is_nowhere() -> None:
    given = options()
    assert given.app.secret == SECRET
    node = ServiceNode(given)
    assert SECRET not in repr(given)
    assert SECRET not in repr(node) + str(vars(node)) + json.dumps(node.as_dict())
    assert node.options.app.secret == ""


def test_the_run_date_is_in_rfc_3339() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ServiceNode(options()).run_date)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"app": App(id=" ", name="x", instance_id="1")}, r"App\(id=…\): is empty"),
        ({"app": App(id="1", name="x", instance_id="")}, r"App\(instance_id=…\): is empty"),
        ({"service": Service(name="", port=1)}, r"Service\(name=…\): is empty"),
        ({"service": Service(name="x", port=0)}, r"Service\(port=…\): 0 is no port"),
        ({"server_port": 65536}, r"server_port=…\): 65536 is no port"),
        ({"managed_port": -1}, r"managed_port=…\): -1 is no port"),
        ({"service": Service(name="x", port=1, weight=0)}, r"Service\(weight=0\)"),
        ({"protocol": "tcp"}, r"protocol='tcp'\): takes 'grpc' or 'http'"),
    ],
)
def test_what_an_agent_could_not_use_is_refused(changed: dict[str, Any], message: str) -> None:
    given = {"app": options().app, "service": options().service, **changed}
    with pytest.raises(OptionError, match=message):
        ServiceOptions(**given)


@pytest.mark.parametrize("path", ["Get", "/Get", "shop.Orders/Get", "/a/b/c", "/a.B/"])
def test_what_is_no_method_is_refused(path: str) -> None:
    with pytest.raises(OptionError, match="is no method"):
        method_paths([path])


@pytest.mark.parametrize(
    ("watch", "base", "found"),
    [
        (None, "http://127.0.0.1:15010", "http://127.0.0.1:15010/watch"),
        ("", "  http://agent:1/  ", "http://agent:1/watch"),
        (" http://agent:2/events/ ", "http://agent:1", "http://agent:2/events"),
        ("http://agent:2/events", "", "http://agent:2/events"),
    ],
)
def test_the_watch_url_is_derived_from_the_base_and_both_are_trimmed(watch: str | None, base: str, found: str) -> None:
    assert WatchSource(watch, base_url=base).watch_url == found


@pytest.mark.parametrize("watch", [None, "", "  "])
def test_without_any_url_there_is_nothing_to_watch(watch: str | None) -> None:
    with pytest.raises(WatchUrlRequired, match="watch url is required"):
        WatchSource(watch, base_url=" ")


def test_the_defaults_are_those_of_the_agents() -> None:
    source, client = WatchSource(), ApiClient()
    assert source.watch_url == "http://127.0.0.1:15010/watch"
    assert client._base_url == "http://127.0.0.1:15010"
    assert (source._interval, source._timeout, client._timeout) == (1.0, 3.0, 3.0)
    settings = SidecarSettings()
    assert (settings.base_url, settings.watch_url) == (client._base_url, source.watch_url)
    assert (settings.request_timeout, settings.reconnect_interval) == (client._timeout, source._interval)
    assert settings.idle_limit == source._idle_limit == 60


@pytest.mark.parametrize(
    "url",
    ["agent:1", "ftp://agent", "http://", "http://agent:port", "http://[", "http://a:0", "http://a b", "http://a/?x=1"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="is no URL such as"):
        base_url(url)


@pytest.mark.parametrize("host", ["a..b", "1.2.3.4.5", "x" * 300, "0.0.0.0", "-"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(OptionError, match="hrpc_sidecar: base_url: "):
        base_url(f"http://{host}:15010")


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(OptionError, match="takes no user and password") as raised:
        base_url(f"http://me:{SECRET}@agent:1")
    assert SECRET not in str(raised.value)
