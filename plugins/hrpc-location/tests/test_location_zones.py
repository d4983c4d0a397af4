"""Time zones by name, in calls and in the log."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest

import hrpc
import hrpc_location as location
from hrpc.errors import OptionError
from tests.echo import add_echo, call


def server(*options: hrpc.Option) -> hrpc.Server:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )

    async def where(request: bytes, _: object) -> bytes:
        return str(location.zone(request.decode())).encode()

    def where_in_thread(request: bytes, _: object) -> bytes:
        return str(location.zone(request.decode())).encode()

    add_echo(made, Where=where, WhereInThread=where_in_thread)
    return made


def test_pst_and_bjs_are_there_without_a_server_and_know_daylight_saving_time() -> None:
    winter, summer = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert [one.astimezone(location.pst()).hour for one in (winter, summer)] == [4, 5]
    assert [one.astimezone(location.bjs()).hour for one in (winter, summer)] == [20, 20]
    assert location.zone("pst") is location.pst()
    before = datetime.now(UTC)
    for now in (location.pst_now(), location.bjs_now(), location.now("Asia/Tokyo"), location.now("bjs")):
        assert now.tzinfo is not None
        assert timedelta(0) <= now - before < timedelta(minutes=1)


def test_the_hour_that_a_zone_has_twice_and_the_one_that_it_skips_are_told_apart() -> None:
    berlin = location.zone("Europe/Berlin")
    utc = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC).astimezone(berlin) for hour in (0, 1)]
    assert [(one.hour, one.fold, one.utcoffset()) for one in utc] == [
        (2, 0, timedelta(hours=2)),
        (2, 1, timedelta(hours=1)),
    ]
    spring = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    assert [(spring + timedelta(minutes=more)).astimezone(berlin).hour for more in (0, 1)] == [1, 3]


async def test_names_of_a_service_are_known_in_its_handlers_with_and_without_a_thread() -> None:
    zones = location.with_zones(office="Europe/Berlin", ship=timezone(timedelta(hours=-2)))
    async with server(zones) as running, grpc.aio.insecure_channel(running.address) as channel:
        assert location.zone("office") == ZoneInfo("Europe/Berlin")
        assert location.now("ship").utcoffset() == timedelta(hours=-2)
        for method in ("Where", "WhereInThread"):
            assert await call(channel, method, b"office") == b"Europe/Berlin"
            assert await call(channel, method, b"pst") == b"America/Los_Angeles"
    with pytest.raises(location.UnknownZone):
        location.zone("office")


async def test_a_zone_that_nobody_knows_says_which_is_near() -> None:
    async with server(location.with_zones(office="Europe/Berlin")):
        with pytest.raises(location.UnknownZone, match=r"'ofice': neither one of bjs, office, pst .* mean 'office'"):
            location.zone("ofice")
    with pytest.raises(
        LookupError, match=r"'Asia/Tokio': neither one of bjs, pst nor of .*; did you mean 'Asia/Tokyo'"
    ):
        location.now("Asia/Tokio")
    for wrong in ("", "../zoneinfo", "America", 7):
        with pytest.raises(location.UnknownZone, match="unknown time zone"):
            location.zone(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("log", "fields"),
    [
        (("office", "UTC"), {"pst_time": "Europe/Berlin", "bj_time": "UTC"}),
        ({"time": "bjs"}, {"time": "Asia/Shanghai"}),
        (None, {"pst_time": "America/Los_Angeles", "bj_time": "Asia/Shanghai"}),
    ],
)
async def test_the_times_of_the_log_are_in_the_zones_that_are_named(
    log: Any, fields: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with server(location.with_zones(office="Europe/Berlin", log=log)) as running:
        async with grpc.aio.insecure_channel(running.address) as channel:
            await call(channel, "Where", b"office")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["category"] for line in lines} == {"log", "audit"}
    for line in lines:
        assert {field for field in line if field.endswith("time")} == fields.keys()
        for field, zone in fields.items():
            told = datetime.fromisoformat(line[field]).replace(tzinfo=ZoneInfo(zone))
            assert abs(told - datetime.now(UTC)) < timedelta(minutes=1)


async def test_what_the_user_says_of_the_log_wins(capsys: pytest.CaptureFixture[str]) -> None:
    async with server(location.with_zones(log=("UTC", "bjs")), hrpc.with_log_times(mine="UTC")):
        pass
    for line in capsys.readouterr().out.splitlines():
        assert "mine" in json.loads(line)
        assert "pst_time" not in json.loads(line)


class Unfinished(tzinfo):
    pass


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"office": "Europe/Berln"}, r"with_zones\(office=…\): there is no time zone 'Europe/Berln'.*'Europe/Berlin'"),
        ({"pst": "UTC"}, "pst cannot mean another time zone"),
        ({"log": ("ofice", "UTC")}, "there is no time zone 'ofice'"),
        ({"log": "office"}, "takes two zones, for the fields pst_time and bj_time"),
        ({"log": ("UTC",)}, "takes two zones"),
        ({"log": 5}, "takes two zones"),
        ({"log": {5: "UTC"}}, "5 is no name of a field"),
        ({"log": (["UTC"], "UTC")}, r"takes the name of a time zone, or a tzinfo, not \['UTC'\]"),
        ({"ship": Unfinished()}, r"with_zones\(ship=…\): .* cannot say what time it is there: NotImplementedError"),
        ({"log": {"level": "UTC"}}, "a log line has fields level already"),
    ],
)
def test_a_wrong_name_is_told_before_the_server_starts(given: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        location.with_zones(**given)


def test_the_package_offers_itself_as_a_plugin_of_its_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name)().name == project["name"] == "hrpc-location"
