"""The package as a whole: what it exports, and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hrpc


def test_the_exported_names_are_exactly_those_that_type_checkers_see() -> None:
    tree = ast.parse(inspect.getsource(hrpc))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen | {"__version__"} == set(hrpc.__all__)
    assert list(hrpc.__all__) == sorted(hrpc.__all__)


def test_every_exported_name_is_what_type_checkers_see() -> None:
    """In a process of its own for each order: what is imported on the way must not stand in for what was asked for."""
    code = (
        "import ast, importlib, inspect, sys, hrpc\n"
        "block = next(node for node in ast.parse(inspect.getsource(hrpc)).body if isinstance(node, ast.If))\n"
        "homes = {alias.name: node.module for node in block.body for alias in node.names}\n"
        "names = sorted(homes, reverse=sys.argv[1] == 'backwards')\n"
        "for name in names: getattr(hrpc, name)\n"
        "for name in names:\n"
        "    home = importlib.import_module(homes[name])\n"
        "    seen = getattr(home, name) if home is not hrpc else importlib.import_module('hrpc.' + name)\n"
        "    assert getattr(hrpc, name) is seen, name\n"
    )
    for order in ("forwards", "backwards"):
        subprocess.run([sys.executable, "-c", code, order], check=True)


def test_no_exported_name_is_that_of_a_module_unless_it_is_that_module() -> None:
    """Else the import of the module would put it in the place of the name."""
    modules = {module.name for module in pkgutil.iter_modules(hrpc.__path__)}
    for name in modules & set(hrpc.__all__):
        assert getattr(hrpc, name) is sys.modules[f"hrpc.{name}"]


def test_what_is_not_there_is_missing_and_modules_are_found() -> None:
    for name in ("nothing", "with_nothing", "Nothing", "_nothing", "__wrapped__"):
        assert not hasattr(hrpc, name)
    assert hrpc.abc is sys.modules["hrpc.abc"]
    assert set(hrpc.__all__) <= set(dir(hrpc))


def test_a_module_that_is_there_and_misses_what_it_needs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import there_is_no_such_package")
    monkeypatch.setattr(hrpc, "__path__", [*hrpc.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_package"):
        _ = hrpc.broken  # type: ignore[attr-defined]


def test_import_hrpc_imports_no_grpc_and_nothing_else_that_takes_long() -> None:
    code = "import sys; before = set(sys.modules); import hrpc; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(loaded) <= {"hrpc", "hrpc._version", "importlib", "importlib._bootstrap", "warnings"}


def test_every_error_is_in_the_tree_on_top_of_its_module() -> None:
    classes = {
        name
        for name, value in vars(hrpc.errors).items()
        if isinstance(value, type) and issubclass(value, hrpc.HrpcError)
    }
    drawn = set((hrpc.errors.__doc__ or "").split())
    assert classes <= drawn


def test_import_hrpc_imports_no_driver_and_nothing_that_only_a_running_server_needs() -> None:
    code = (
        "import sys, hrpc; from hrpc.database import mysql, redis;"
        "from hrpc import Consul, life, service, configs, metrics; metrics.register_counter('a', 'A.');"
        "hrpc.new_server("
        "hrpc.with_server_name('a'), hrpc.with_consul(), hrpc.with_databases(mysql.new(), redis.new()));"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"aiohttp", "consul", "aiomysql", "pymysql", "redis", "loguru", "prometheus_client", "click", "requests"}
    assert not heavy & set(loaded)


def test_a_start_without_probes_metrics_and_queues_imports_none_of_them() -> None:
    code = (
        "import asyncio, sys, hrpc\n"
        "async def main():\n"
        "    async with hrpc.new_server(hrpc.with_server_name('a'), hrpc.with_listen_port(0, '127.0.0.1')):\n"
        "        print('LOADED', *sys.modules)\n"
        "asyncio.run(main())"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = next(line for line in output.splitlines() if line.startswith("LOADED")).split()
    assert not {"aiohttp", "prometheus_client", "hrpc.queues"} & set(loaded)
