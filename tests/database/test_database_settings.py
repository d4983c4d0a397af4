"""Settings of databases, from code and from Consul KV."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from hrpc.abc import Database, StoredSettings
from hrpc.database import mysql, redis
from hrpc.database.mysql.settings import MySQLOptions, MySQLSettings
from hrpc.database.redis.settings import RedisOptions, RedisSettings
from hrpc.errors import InvalidConfig, OptionError

KEY = "development/databases/mysql"
STORED: dict[str, Any] = {"address": "db", "username": "orders", "password": "hunter2", "dbname": "shop"}


def stored(**changes: Any) -> StoredSettings:
    return StoredSettings(KEY, STORED | changes)


def test_importing_the_modules_imports_no_driver() -> None:
    """A driver is imported when its database is opened, not before."""
    program = """
import sys
from hrpc.database import mysql, redis
mysql.new(address="db", username="u", dbname="d"), redis.new(address="db")
print(sorted({"aiomysql", "pymysql", "redis", "loguru"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_defaults_are_those_of_the_go_framework() -> None:
    """What is not given is as in Go."""
    read = mysql.new().read(stored())
    assert (read.port, read.max_open_conns, read.max_idle_conns) == (3306, 3, 1)
    cache = redis.new(address="cache").read(None)
    assert (cache.port, cache.db, cache.network, cache.max_retries) == (6379, 0, "tcp", 3)


def test_settings_in_code_win_over_stored_ones_and_an_address_in_code_needs_none() -> None:
    """Each setting comes from code if it is there, else from Consul."""
    recipe: Database = mysql.new(max_open_conns=20)
    assert recipe.needs_settings
    read = mysql.new(max_open_conns=20).read(stored(max_open_conns=5, port=3307))
    assert (read.max_open_conns, read.port) == (20, 3307)
    assert not mysql.new(address="db", username="u", dbname="d").needs_settings


@pytest.mark.parametrize(
    ("address", "servers"),
    [
        ("db", [("db", 3306)]),
        ("db:3307", [("db", 3307)]),
        ("a, b:3307", [("a", 3306), ("b", 3307)]),
        (["a", "10.0.0.5:3307"], [("a", 3306), ("10.0.0.5", 3307)]),
        ("::1", [("::1", 3306)]),
        ("[::1]:3307,::2,[fe80::1]", [("::1", 3307), ("::2", 3306), ("fe80::1", 3306)]),
    ],
)
def test_an_address_names_one_server_or_several(address: Any, servers: list[tuple[str, int]]) -> None:
    """Each with a port of its own if need be; from code and from a key alike."""
    assert mysql.new(address=address, username="u", dbname="d").read(None).servers == servers
    assert mysql.new().read(stored(address=address)).servers == servers


def test_what_names_a_certificate_turns_tls_on() -> None:
    """Nobody who names authorities wants plain text."""
    login: Any = {"address": "db", "username": "u", "dbname": "d"}
    assert not mysql.new(**login).read(None).uses_tls
    assert mysql.new(**login, tls_ca="/ca.pem").read(None).uses_tls
    assert redis.new(address="cache", tls=True).read(None).uses_tls


def test_recipes_are_values() -> None:
    """Recipes compare, hash and cross to another process."""
    assert redis.new(address="a") == redis.new(address="a") != redis.new(address="b")
    assert len({redis.new(address="a"), redis.new(address="a")}) == 1
    assert pickle.loads(pickle.dumps(MySQLSettings("x", "db", username="u", dbname="d"))).address == "db"


@pytest.mark.parametrize(
    ("field", "value", "expected", "found"),
    [
        ("port", "3306", "a whole number from 1 to 65535", "a text: '3306'"),
        ("port", 0, "a whole number from 1 to 65535", "a number: 0"),
        ("port", 65536, "a whole number from 1 to 65535", "a number: 65536"),
        ("port", 3306.0, "a whole number from 1 to 65535", "a number: 3306.0"),
        ("port", True, "a whole number from 1 to 65535", "a boolean: True"),
        ("address", "db:x", "a host name or an IP address", "a text"),
        ("address", "db:0", "a host name or an IP address", "a text"),
        ("address", "a,,b", "a host name or an IP address", "a text"),
        ("address", [], "a host name or an IP address", "a list"),
        ("address", ["a", 7], "a host name or an IP address", "a list"),
        ("tls", "yes", "true or false", "a text: 'yes'"),
        ("tls_ca", 7, "the path of a PEM file", "a number: 7"),
        ("address", "root:hunter2@tcp(db)", "a host name or an IP address", "a text"),
        ("address", "", "a host name or an IP address", "a text"),
        ("username", 7, "a text that is not empty", "a number: 7"),
        ("dbname", " ", "a text that is not empty", "a text: ' '"),
        ("dbname", {"name": "shop"}, "a text that is not empty", "an object"),
        ("max_open_conns", 0, "a whole number of at least 1", "a number: 0"),
        ("max_idle_conns", -1, "a whole number of at least 0", "a number: -1"),
        ("connect_timeout", 0, "a number of seconds above 0", "a number: 0"),
        ("acquire_timeout", "3s", "a number of seconds above 0", "a text: '3s'"),
        ("read_timeout", math.nan, "a number of seconds above 0", "a number: nan"),
        ("max_lifetime", math.inf, "a number of seconds above 0", "a number: inf"),
        ("password", 12345678, "a text", "a number"),
        ("password", ["hunter2"], "a text", "a list"),
    ],
)
def test_a_wrong_value_names_its_place_and_what_was_expected(field: str, value: Any, expected: str, found: str) -> None:
    """The error says where the value stands, which field, what it should be and what it is."""
    with pytest.raises(InvalidConfig) as stored_error:
        mysql.new().read(stored(**{field: value}))
    message = str(stored_error.value)
    assert message.startswith(f"{KEY}: field {field!r}: expected {expected}")
    assert message.endswith(f", found {found}")
    assert stored_error.value.field == field
    with pytest.raises(InvalidConfig, match=r"^mysql\.new\(\): field"):
        mysql.new(**{field: value})


@pytest.mark.parametrize("field", ["address", "username", "dbname"])
def test_a_missing_setting_is_named(field: str) -> None:
    """What has no default must be there; null is as not there."""
    for missing in (StoredSettings(KEY, {k: v for k, v in STORED.items() if k != field}), stored(**{field: None})):
        with pytest.raises(InvalidConfig, match=rf"{KEY}: field '{field}': expected .*, found nothing"):
            mysql.new().read(missing)


def test_missing_settings_show_at_once_when_the_address_is_given_in_code() -> None:
    """A recipe that is all there is, is checked as a whole where it is made."""
    with pytest.raises(InvalidConfig, match=r"mysql\.new\(\): field 'username': expected .*, found nothing"):
        mysql.new(address="db")


def test_an_unknown_setting_in_code_is_an_error_that_names_the_known_ones() -> None:
    """A typing mistake in code cannot pass."""
    with pytest.raises(OptionError, match=r"mysql\.new\(\): there is no setting 'pasword'; .*password, dbname"):
        mysql.new(pasword="hunter2")  # type: ignore[call-arg]


def test_unknown_stored_fields_are_ignored_with_one_log_line() -> None:
    """A Go service may keep more in the same key; its values are not logged."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    try:
        mysql.new().read(stored(loc="Local", api_key="hunter3"))
    finally:
        logger.remove(sink)
    assert lines == [f"WARNING {KEY}: ignored unknown fields: api_key, loc\n"]


def test_stored_settings_have_to_be_an_object() -> None:
    """A JSON list under the key is an error of the key."""
    with pytest.raises(InvalidConfig, match=f"{KEY}: expected a JSON object, found a list"):
        mysql.new().read(StoredSettings(KEY, []))  # type: ignore[arg-type]


def test_a_password_shows_nowhere() -> None:
    """Neither recipe nor settings show the password, and it reaches the driver all the same."""
    recipe = mysql.new(address="db", username="u", dbname="d", password="hunter2")
    settings = recipe.read(None)
    for shown in (repr(recipe), repr(settings), str(settings), f"{settings.password} {settings.password:>20}"):
        assert "hunter2" not in shown
    assert settings.password.encode() == b"hunter2"


@pytest.mark.parametrize(("options", "settings"), [(MySQLOptions, MySQLSettings), (RedisOptions, RedisSettings)])
def test_the_typed_options_are_the_fields_of_the_settings(options: Any, settings: Any) -> None:
    """Every setting can be given in code, and type checkers know it."""
    assert set(options.__annotations__) == set(settings.__dataclass_fields__) - {"origin"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from([*MySQLOptions.__annotations__])


@given(st.dictionaries(FIELDS, JSON))
def test_any_json_gives_settings_of_the_declared_types_or_an_error(values: dict[str, Any]) -> None:
    """Whatever is stored, the result is InvalidConfig or settings that hold what they declare."""
    try:
        read = mysql.new().read(stored(**json.loads(json.dumps(values))))
    except InvalidConfig as invalid:
        field = invalid.field
        assert field in values
        return
    assert isinstance(read.address, str)
    assert 1 <= read.port <= 65535
    assert type(read.max_open_conns) is type(read.max_idle_conns) is int
    assert 0 < read.connect_timeout < math.inf
    assert read.read_timeout is None or 0 < read.read_timeout < math.inf


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=4), FIELDS)
def test_no_error_and_no_repr_shows_a_password(password: str, field: str) -> None:
    """Whichever field is wrong, the password beside it stays hidden, and so does a password in a wrong place."""
    for values in (stored(password=password), stored(password=[password]), stored(**{field: {"x": password}})):
        try:
            shown = repr(mysql.new().read(values))
        except InvalidConfig as error:
            shown = repr(error) + str(error)
        assert password not in shown
