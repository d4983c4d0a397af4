"""The recipe: what may be given in code or stored, and what a mistake says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import hrpc_mongodb
from hrpc.abc import StoredSettings
from hrpc.errors import InvalidConfig, NotRunning, OptionError

KEY = "development/databases/mongodb"


def test_settings_in_code_need_no_key_and_those_without_an_address_do() -> None:
    assert not hrpc_mongodb.new(address="a", dbname="orders").needs_settings
    assert hrpc_mongodb.new(dbname="orders").needs_settings
    assert hrpc_mongodb.new().name == "mongodb"
    assert hrpc_mongodb.new(name="events").name == "events"


def test_a_key_of_the_go_framework_needs_only_the_name_of_the_database_beside_it() -> None:
    stored = StoredSettings(KEY, {"address": "10.0.0.7:27018", "username": "orders", "password": "s3cret"})
    settings = hrpc_mongodb.new(dbname="shop").read(stored)
    assert settings.servers == [("10.0.0.7", 27018)]
    assert (settings.username, settings.auth_source, settings.dbname) == ("orders", "admin", "shop")
    with pytest.raises(InvalidConfig, match=f"{KEY}: field 'dbname': expected a text that is not empty, found nothing"):
        hrpc_mongodb.new().read(stored)


def test_a_setting_in_code_wins_over_the_stored_one() -> None:
    stored = StoredSettings(KEY, {"address": "a", "dbname": "shop", "max_open_conns": 4})
    assert hrpc_mongodb.new(max_open_conns=9).read(stored).max_open_conns == 9


def test_members_of_a_replica_set_have_ports_of_their_own() -> None:
    settings = hrpc_mongodb.new(address="a,b:27018,::1", replica_set="rs0", dbname="shop").read(None)
    assert settings.servers == [("a", 27017), ("b", 27018), ("::1", 27017)]
    assert settings.place == "mongodb a:27017,b:27018,[::1]:27017/shop"


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": "27017"},
        {"dbname": ""},
        {"read_timeout": 0},
        {"max_open_conns": 0},
        {"direct": 1},
        {"address": "mongodb://orders:s3cret@a"},
        {"password": 7},
    ],
)
def test_a_wrong_value_is_told_where_it_is_given(wrong: dict[str, Any]) -> None:
    (field,) = wrong
    with pytest.raises(InvalidConfig, match=rf"mongodb\.new\(\): field '{field}'") as error:
        hrpc_mongodb.new(**({"address": "a", "dbname": "shop"} | wrong))
    assert "s3cret" not in str(error.value)


def test_an_unknown_setting_is_told_with_those_that_there_are() -> None:
    with pytest.raises(OptionError, match="there is no setting 'uri'; the settings are address, port, dbname"):
        hrpc_mongodb.new(uri="mongodb://a")  # type: ignore[call-arg]


def test_a_password_is_shown_by_nothing() -> None:
    recipe = hrpc_mongodb.new(address="a", dbname="shop", username="orders", password="s3cret")
    settings = recipe.read(None)
    assert "s3cret" not in f"{recipe!r} {settings!r} {settings.place}"


def test_nothing_is_given_outside_of_a_running_server() -> None:
    with pytest.raises(NotRunning, match=r"hrpc\.with_databases\(hrpc_mongodb\.new\(\)\)"):
        hrpc_mongodb.get()
    with pytest.raises(NotRunning, match=r'hrpc_mongodb\.new\(name="events"\)'):
        hrpc_mongodb.get("events")


def test_importing_it_and_making_a_recipe_imports_no_driver() -> None:
    code = "import sys, hrpc_mongodb; hrpc_mongodb.new(address='a', dbname='shop'); print('pymongo' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=env)
    assert done.stdout.strip() == "False"


def test_a_missing_driver_is_named_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrpc.database.recipe.find_spec", lambda name: None)
    with pytest.raises(OptionError, match="needs pymongo, which is not installed: pip install hrpc-mongodb"):
        hrpc_mongodb.new()
