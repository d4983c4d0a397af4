"""What the README and its pages say, as far as a machine can tell: their code runs, and their defaults are true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hrpc.database import mysql, redis
from tests.examples.pages import DOCS, README, ROOT, blocks


def test_the_first_code_is_the_greeter() -> None:
    _, _, code = (ROOT / "examples/greeter/app.py").read_text().partition('"""\n\n')
    assert blocks("python")[0] == code


@pytest.mark.parametrize("code", [code for page in (README, *DOCS.glob("*.md")) for code in blocks("python", page)])
def test_code_compiles(code: str) -> None:
    indented = "".join(f"    {line}" for line in code.splitlines(keepends=True))
    compile(f"async def block():\n{indented}", "a page", "exec")


def test_lines_about_orders_are_lines_of_orders() -> None:
    orders = (ROOT / "examples/orders/app.py").read_text()
    for call in (
        'async with service.channel("greeter") as channel:',
        "await greeter.SayHello(",
        "await mysql.get().query_one(",
        'raise OrderNotFound(f"there is no order {request.id}")',
        ").incr(",
        'metrics.incr("placed")',
        "log.with_fields(cents=",
    ):
        assert call in blocks("python")[1]
        assert call in orders


def test_the_test_of_the_greeter_passes(tmp_path: Path) -> None:
    test = tmp_path / "test_greeter.py"
    test.write_text(next(code for code in blocks("python", DOCS / "testing.md") if "def test_" in code))
    options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIGS_", "HRPC_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "-W", "error", str(test)],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_of_databases_are_taken_and_their_defaults_are_true() -> None:
    of_mysql, of_redis = map(json.loads, blocks("json", DOCS / "options.md"))
    required = {name: of_mysql[name] for name in ("address", "username", "dbname")}
    assert mysql.new(**of_mysql).read(None) == mysql.new(**required).read(None)
    assert redis.new(**of_redis).read(None) == redis.new(address=of_redis["address"]).read(None)


def test_commands_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)`?(?:  |`)", README.read_text())) <= targets
