"""Options: every mistake is found by new_server, before anything is started, and says what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc.aio
import pytest

import hrpc
from hrpc.database import mysql
from hrpc.errors import InvalidPort, MissingServerName, OptionError
from hrpc.option import Consul, Settings, fold

NAME = hrpc.with_server_name("orders")


def settings(*options: hrpc.Option, **environ: str) -> Settings:
    return fold((NAME, *options), environ)


def test_the_defaults_are_those_of_the_go_framework() -> None:
    found = settings()
    assert (found.port, found.environment, found.health_port, found.metrics_port, found.stack_skip) == (
        8888,
        "development",
        None,
        None,
        1,
    )
    assert settings(hrpc.with_health_check(), hrpc.with_metrics()).health_port == 6688
    assert settings(hrpc.with_health_check(), hrpc.with_metrics()).metrics_port == 2112


def test_new_server_without_a_name_fails_at_once() -> None:
    with pytest.raises(MissingServerName, match="missing server name"):
        hrpc.new_server(hrpc.with_listen_port(0))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: hrpc.with_server_name(""), MissingServerName, "missing server name"),
        (lambda: hrpc.with_server_name("my_service"), OptionError, "found by DNS"),
        (lambda: hrpc.with_server_name("-a"), OptionError, "found by DNS"),
        (lambda: hrpc.with_server_name("a" * 64), OptionError, "1 to 63"),
        (lambda: hrpc.with_listen_port(70000), InvalidPort, r"invalid port number 70000: hrpc.with_listen_port"),
        (lambda: hrpc.with_listen_port(-1), InvalidPort, "invalid port number"),
        (lambda: hrpc.with_listen_port(True), InvalidPort, "invalid port number"),
        (lambda: hrpc.with_health_check(port=99999), InvalidPort, "hrpc.with_health_check"),
        (lambda: hrpc.with_metrics(port=99999), InvalidPort, "hrpc.with_metrics"),
        (lambda: hrpc.with_metrics(buckets=()), OptionError, "1 to 100 upper bounds"),
        (lambda: hrpc.with_metrics(buckets=range(1, 102)), OptionError, "1 to 100 upper bounds"),
        (lambda: hrpc.with_metrics(buckets="1"), OptionError, "1 to 100 upper bounds"),  # type: ignore[arg-type]
        (lambda: hrpc.with_metrics(buckets=1), OptionError, "1 to 100 upper bounds"),  # type: ignore[arg-type]
        (lambda: hrpc.with_metrics(buckets=(0, 1)), OptionError, "above 0"),
        (lambda: hrpc.with_metrics(buckets=(1, 1.0)), OptionError, "1.0 after 1: takes finite numbers"),
        (lambda: hrpc.with_metrics(buckets=(1, float("nan"))), OptionError, "nan after 1: takes finite numbers"),
        (lambda: hrpc.with_metrics(buckets=(1, float("inf"))), OptionError, "inf after 1: takes finite numbers"),
        (lambda: hrpc.with_metrics(buckets=(10**400,)), OptionError, "takes finite numbers"),
        (lambda: hrpc.with_default_timeout(0), OptionError, r"with_default_timeout\(timeout=0\): takes seconds"),
        (lambda: hrpc.with_default_timeout(1, {"/a/b/c": 1.0}), OptionError, "'/a/b/c' is neither a method"),
        (lambda: hrpc.with_default_timeout(1, 2), OptionError, "with_default_timeout: takes a mapping"),  # type: ignore[arg-type]
        (lambda: hrpc.with_rate_limit(1, methods=["a.A"]), OptionError, "takes a mapping"),  # type: ignore[arg-type]
        (
            lambda: hrpc.with_interceptors(grpc.aio.ServerInterceptor),
            OptionError,
            "takes objects of grpc.aio.ServerInterceptor, not <class",
        ),
        (lambda: hrpc.with_default_timeout(1, {"a/b": -1.0}), OptionError, r"with_default_timeout\(a/b=-1.0\)"),
        (lambda: hrpc.with_handler_threads(0), OptionError, r"with_handler_threads\(threads=0\)"),
        (lambda: hrpc.with_error_details(stack=None), OptionError, "stack=None"),  # type: ignore[arg-type]
        (lambda: hrpc.with_error_details(host="no"), OptionError, "True or False"),  # type: ignore[arg-type]
        (lambda: hrpc.with_environment("prod"), OptionError, "development, testing, staging, production"),
        (lambda: hrpc.with_consul("127.0.0.1:8500"), OptionError, "hrpc.Consul"),  # type: ignore[arg-type]
        (lambda: Consul(address="no port:x"), OptionError, "CONFIGS_ADDR"),
        (lambda: Consul(address="con sul:8500"), OptionError, "host:port"),
        (lambda: Consul(address="ftp://a:1"), OptionError, "host:port"),
        (lambda: Consul(address="a:99999"), OptionError, "host:port"),
        (lambda: Consul(client_cert="a.pem"), OptionError, "both or none"),
        (lambda: Consul(timeout=0), OptionError, "seconds"),
        (lambda: Consul(prefix="/"), OptionError, "KV path"),
        (lambda: Consul(prefix="../agent"), OptionError, "KV path"),
        (lambda: Consul(address="http://admin:s3cret@127.0.0.1:1"), OptionError, "takes no user and password"),
        (lambda: hrpc.with_registration(deregister_after=30), OptionError, "60 or more"),
        (lambda: hrpc.with_registration(check_interval=0.5), OptionError, "1 or more"),
        (lambda: hrpc.with_registration(weight=0), OptionError, "weight"),
        (lambda: hrpc.with_registration(meta={"a b": "c"}), OptionError, "meta key 'a b'"),
        (lambda: hrpc.with_registration(meta={"a": "x" * 513}), OptionError, "512 bytes"),
        (lambda: hrpc.with_registration(meta={"consul-a": "b"}), OptionError, "begin with consul-"),
        (
            lambda: hrpc.with_registration(meta={str(n): "" for n in range(59)}),
            OptionError,
            "59 keys, 65 with .*takes 64",
        ),
        (
            lambda: hrpc.with_registration(meta={"version": "1"}),
            OptionError,
            "'version' is written by hrpc: give version=",
        ),
        (lambda: hrpc.with_registration(meta={"methods": "1"}), OptionError, "'methods' is written by hrpc"),
        (lambda: hrpc.with_registration(version="x" * 513), OptionError, "version=.*1 to 512 bytes"),
        (lambda: hrpc.with_registration(zone="a\nb"), OptionError, "zone="),
        (lambda: hrpc.with_registration(tags="blue"), OptionError, "several texts"),
        (lambda: hrpc.with_registration(tags=("",)), OptionError, "tags=''"),
        (lambda: hrpc.with_registration(address="10.0.0.5:80"), OptionError, "no port"),
        (lambda: hrpc.with_registration(address="10.0.0.256"), OptionError, "neither an IP address"),
        (lambda: hrpc.with_registration(address="::"), OptionError, "nobody can connect"),
        (
            lambda: hrpc.with_registration(tagged_addresses={"wan": ("a_b", 1)}),
            OptionError,
            r"tagged_addresses\['wan'\]",
        ),
        (
            lambda: hrpc.with_registration(tagged_addresses={"wan": ("a.b", 0)}),
            InvalidPort,
            r"tagged_addresses\['wan'\] takes 1 to 65535$",
        ),
        (lambda: hrpc.with_registration(tagged_addresses={"wan": 5}), OptionError, "not 5"),  # type: ignore[dict-item]
        (lambda: hrpc.with_registration(tagged_addresses={"": "a.b"}), OptionError, "such as wan"),
        (lambda: hrpc.with_health_check(kind="tcp"), OptionError, 'kind=.*"ttl"'),  # type: ignore[arg-type]
        (lambda: hrpc.with_databases("mysql"), OptionError, "with_databases"),  # type: ignore[arg-type]
        (lambda: hrpc.with_upstreams("us_ers"), OptionError, "with_upstreams"),
        (lambda: hrpc.with_balancer("random"), OptionError, "picker='random'.*weighted_round_robin"),  # type: ignore[arg-type]
        (lambda: hrpc.with_balancer("consistent_hash"), OptionError, "hash_key=None.*metadata key"),
        (lambda: hrpc.with_balancer("consistent_hash", hash_key="User"), OptionError, "hash_key='User'"),
        (lambda: hrpc.with_balancer("consistent_hash", hash_key="a-bin"), OptionError, "hash_key='a-bin'"),
        (lambda: hrpc.with_balancer("p2c", hash_key="user"), OptionError, 'belongs to "consistent_hash"'),
        (lambda: hrpc.with_balancer(prefer_zone="a"), OptionError, "prefer_zone='a'"),  # type: ignore[arg-type]
        (lambda: hrpc.with_balancer(slow_start=-1), OptionError, "slow_start=-1"),
        (lambda: hrpc.with_balancer(eject_after=-1), OptionError, "eject_after=-1"),
        (lambda: hrpc.with_balancer(eject_for=0), OptionError, "eject_for=0"),
        (lambda: hrpc.with_balancer(services=["users"]), OptionError, "takes a mapping"),  # type: ignore[arg-type]
        (lambda: hrpc.with_balancer(services={"users": "p2c"}), OptionError, r"services\['users'\]"),  # type: ignore[dict-item]
        (
            lambda: hrpc.with_balancer(services={"users": hrpc.BalancerSettings(eject_for=0)}),
            OptionError,
            r"services\['users'\]\(eject_for=0\)",
        ),
        (lambda: hrpc.with_target("dns"), OptionError, "with_target"),  # type: ignore[arg-type]
        (lambda: hrpc.with_exit_listeners("close"), OptionError, "with_exit_listeners"),  # type: ignore[arg-type]
        (lambda: hrpc.with_restart_listeners(None), OptionError, "with_restart_listeners"),  # type: ignore[arg-type]
        (lambda: hrpc.with_graceful_stop(grace=-1), OptionError, "grace"),
        (lambda: hrpc.with_graceful_stop(drain_delay=float("nan")), OptionError, "drain_delay"),
        (lambda: hrpc.with_message_limits(receive=-1), OptionError, "receive=-1"),
        (lambda: hrpc.with_message_limits(send=1.5), OptionError, "send=1.5"),  # type: ignore[arg-type]
        (lambda: hrpc.with_keepalive(time=0), OptionError, "time=0"),
        (lambda: hrpc.with_keepalive(age=float("inf")), OptionError, "age=inf"),
        (lambda: hrpc.with_keepalive(permit_without_stream=1), OptionError, "True or False"),  # type: ignore[arg-type]
        (lambda: hrpc.with_compression("zstd"), OptionError, "with_compression"),  # type: ignore[arg-type]
        (lambda: hrpc.with_max_streams(0), OptionError, "with_max_streams"),
        (lambda: hrpc.with_reflection("yes"), OptionError, "with_reflection"),  # type: ignore[arg-type]
        (lambda: hrpc.with_channelz(None), OptionError, "with_channelz"),  # type: ignore[arg-type]
        (lambda: hrpc.with_server_certs("a.pem", ""), OptionError, "private=''"),
        (lambda: hrpc.with_server_certs("a.pem", "b.pem", b"ca"), OptionError, "client_ca"),  # type: ignore[arg-type]
        (lambda: hrpc.with_client_certs("ca.pem", "a.pem"), OptionError, "both or none"),
        (lambda: hrpc.with_client_certs(""), OptionError, "ca=''"),
        (lambda: hrpc.with_client_certs("ca.pem", name=""), OptionError, "service"),
        (lambda: hrpc.with_client_certs("ca.pem", allow_plain=0), OptionError, "allow_plain"),  # type: ignore[arg-type]
        (lambda: hrpc.with_stack_skip(-1), OptionError, "with_stack_skip"),
        (lambda: hrpc.with_listen_port(1, host=""), OptionError, "host"),
    ],
)
def test_a_bad_option_is_refused_where_it_is_made(
    make: Callable[[], object], error: type[OptionError], says: str
) -> None:
    with pytest.raises(error, match=says):
        make()


def test_what_only_shows_in_the_whole_is_refused_by_new_server() -> None:
    with pytest.raises(OptionError, match="port 7000 is given to both"):
        settings(hrpc.with_listen_port(7000), hrpc.with_metrics(port=7000))
    with pytest.raises(OptionError, match=r"mysql.new\(address=…\).*development/databases/mysql"):
        settings(hrpc.with_databases(mysql.new()))
    with pytest.raises(OptionError, match="given twice"):
        settings(hrpc.with_databases(mysql.new(address="a", dbname="b", username="c"), mysql.new()))
    with pytest.raises(OptionError, match="with_upstreams needs"):
        settings(hrpc.with_upstreams("users"))
    with pytest.raises(OptionError, match=r"Consul has no client certificate.*with_health_check"):
        settings(hrpc.with_server_certs("a", "b", client_ca="c"), hrpc.with_consul())
    with pytest.raises(OptionError, match="not 'orders'"):
        fold(["orders"], {})  # type: ignore[list-item]


def test_meta_takes_all_that_consul_does_beside_the_keys_of_hrpc() -> None:
    hrpc.with_registration(meta={str(n): "" for n in range(58)})
    hrpc.with_registration(meta={"protocol": "grpcs", "keepalive": "9"} | {str(n): "" for n in range(58)})


def test_the_zone_is_that_of_the_code_else_of_the_environment() -> None:
    environ = {"HRPC_ZONE": "eu-1b"}
    name = hrpc.with_server_name("orders")
    assert fold([name], environ).registration.zone == "eu-1b"
    assert fold([name, hrpc.with_registration(zone="eu-1a")], environ).registration.zone == "eu-1a"
    assert fold([name], {}).registration.zone == ""
    with pytest.raises(OptionError, match="HRPC_ZONE"):
        fold([name], {"HRPC_ZONE": "z" * 513})


@pytest.mark.parametrize(
    ("options", "port", "kind"),
    [
        ((), None, "grpc"),
        ((hrpc.with_health_check(),), 6688, "http"),
        ((hrpc.with_health_check(7000),), 7000, "http"),
        ((hrpc.with_health_check(kind="grpc"),), None, "grpc"),
        ((hrpc.with_health_check(kind="ttl"),), None, "ttl"),
        ((hrpc.with_health_check(7000, kind="ttl"),), 7000, "ttl"),
    ],
)
def test_the_kind_of_the_check_says_whether_a_health_port_is_needed(
    options: tuple[hrpc.Option, ...], port: int | None, kind: str
) -> None:
    found = settings(*options)
    assert (found.health_port, found.check_kind) == (port, kind)


def test_port_0_is_allowed_for_several_listeners() -> None:
    assert settings(hrpc.with_listen_port(0), hrpc.with_health_check(0), hrpc.with_metrics(0)).port == 0


def test_configs_variables_win_over_the_code_and_the_code_over_consuls_own() -> None:
    in_code = hrpc.with_consul(Consul(address="code:1", token="code", datacenter="code"))
    standard = {"CONSUL_HTTP_ADDR": "standard:3", "CONSUL_HTTP_TOKEN": "standard", "CONSUL_CACERT": "/ca.pem"}
    ours = {"CONFIGS_ADDR": "ours:2", "CONFIGS_TOKEN": "ours", "CONFIGS_DATACENTER": "ours"}

    def consul(option: hrpc.Option | None, environ: dict[str, str]) -> tuple[object, ...] | None:
        found = fold((NAME,) if option is None else (NAME, option), environ).consul
        return found and (found.address, found.token, found.datacenter, found.ca_cert)

    assert consul(in_code, ours | standard) == ("ours:2", "ours", "ours", "/ca.pem")
    assert consul(in_code, standard) == ("code:1", "code", "code", "/ca.pem")
    assert consul(in_code, {"CONFIGS_ADDR": ""}) == ("code:1", "code", "code", None)
    assert consul(hrpc.with_consul(), standard) == ("standard:3", "standard", None, "/ca.pem")
    assert consul(hrpc.with_consul(), {}) == ("127.0.0.1:8500", None, None, None)
    assert consul(None, ours) == ("ours:2", "ours", "ours", None)
    assert consul(None, standard) is None


def test_a_bad_address_from_the_environment_is_refused_by_new_server() -> None:
    with pytest.raises(OptionError, match="'nonsense::': takes"):
        settings(CONFIGS_ADDR="nonsense::")


def test_the_token_is_in_no_repr() -> None:
    option = hrpc.with_consul(Consul(token="s3cret"))
    assert "s3cret" not in repr(option)
    assert "s3cret" not in repr(settings(option))


def test_buckets_stay_when_a_later_option_only_moves_the_port() -> None:
    found = settings(hrpc.with_metrics(buckets=[1, 2]), hrpc.with_metrics(0))
    assert (found.metrics_port, found.metrics_buckets) == (0, (1.0, 2.0))


def test_later_options_win() -> None:
    assert settings(hrpc.with_listen_port(1), hrpc.with_listen_port(2)).port == 2


@pytest.mark.parametrize("address", ["http://admin:s3cret@127.0.0.1:1", "admin:s3cret@a:b", "admin:s3cret@a:99999"])
def test_a_password_in_the_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(OptionError) as caught:
        Consul(address=address)
    assert "s3cret" not in str(caught.value)


def test_a_service_has_its_own_balancer_or_that_of_all() -> None:
    own = hrpc.BalancerSettings("consistent_hash", hash_key="user-id")
    made = settings(hrpc.with_balancer("p2c", eject_after=3, services={"carts": own})).balancers
    assert made.of("carts") == own
    assert (made.of("users").picker, made.of("users").eject_after) == ("p2c", 3)
    assert settings().balancers.of("users") == hrpc.BalancerSettings()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hrpc.with_snapshot(""), "takes the path of a file"),
        (lambda: hrpc.with_snapshot(7), "takes the path of a file"),  # type: ignore[arg-type]
        (lambda: hrpc.with_snapshot("a\0b"), "takes the path of a file"),
        (lambda: hrpc.with_snapshot("a", max_age=0), r"max_age=0\): takes seconds, 1 or more"),
        (lambda: hrpc.with_snapshot("a", secrets="no"), "takes True or False"),  # type: ignore[arg-type]
        (lambda: settings(hrpc.with_snapshot("a")), r"hrpc.with_snapshot needs hrpc.with_consul"),
        (lambda: Consul(fail_fast="no"), "takes True, False or None"),  # type: ignore[arg-type]
        (lambda: Consul(timeout="5"), r"timeout='5'\): takes seconds"),  # type: ignore[arg-type]
        (lambda: Consul(datacenter="dc 1"), r"datacenter 'dc 1': takes letters.* or CONFIGS_DATACENTER"),
        (lambda: hrpc.with_static_services(""), "takes the path of a file, or a list"),
        (lambda: hrpc.with_debug(loopback="no"), r"loopback='no'\)"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused_where_it_is_made(make: Callable[[], object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        make()


def test_a_snapshot_is_used_for_a_day_and_without_secrets_unless_said_otherwise(tmp_path: Path) -> None:
    snapshot = settings(hrpc.with_consul(), hrpc.with_snapshot(tmp_path / "a")).snapshot
    assert snapshot == (str(tmp_path / "a"), 86400.0, False)
