"""The package as a whole: what it exports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import types

import hrpc


def test_the_exported_names_are_exactly_those_of_all() -> None:
    public = {
        name
        for name, value in vars(hrpc).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    modules = {"configs", "database", "errors", "from_thread", "life", "log", "metrics", "service"}
    assert public | modules | {"__version__"} == set(hrpc.__all__)
    assert list(hrpc.__all__) == sorted(hrpc.__all__)


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


def test_a_start_without_probes_and_metrics_imports_no_http_server() -> None:
    code = (
        "import asyncio, sys, hrpc\n"
        "async def main():\n"
        "    async with hrpc.new_server(hrpc.with_server_name('a'), hrpc.with_listen_port(0, '127.0.0.1')):\n"
        "        print('LOADED', *sys.modules)\n"
        "asyncio.run(main())"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = next(line for line in output.splitlines() if line.startswith("LOADED")).split()
    assert not {"aiohttp", "prometheus_client"} & set(loaded)
