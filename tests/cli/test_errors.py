"""What the command says when it cannot do what it is asked for: one line, and a code that says whose mistake it is."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from hrpc import __version__
from tests.cli.conftest import Command

MODULES = {
    "app": 'import hrpc\nserver = hrpc.new_server(hrpc.with_server_name("a"))\n',
    "named": 'import hrpc\napp = hrpc.new_server(hrpc.with_server_name("a"))\nserver = 3\n',
    "prod": 'import hrpc\nserver = hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_environment("production"))\n',
    "needs": "import nothing_of_this_name\n",
    "wants": "from hrpc import nothing_of_this_name\n",
    "wrong": "import hrpc\n\nserver = hrpc.new_server(hrpc.with_listen_port(99999))\n",
    "nameless": "import hrpc\nserver = hrpc.new_server()\n",
    "fails": "def half(x):\n    return x / 0\n\nhalf(1)\n",
    "typo": "def half(:\n",
    "leaves": "import sys\nsys.exit(7)\n",
}

USAGE: dict[tuple[str, ...], str] = {
    (): "Missing command. See hrpc --help",
    ("walk",): "No such command 'walk'. See hrpc --help",
    ("run",): "Missing argument 'MODULE:SERVER'. See hrpc run --help",
    ("run", "app", "--zzz"): "No such option '--zzz'. See hrpc run --help",
    ("run", "app", "--port", "x"): "Invalid value for '--port': 'x' is not a valid integer. See hrpc run --help",
    ("run", "app", "--port", "70000"): "--host, --port: invalid port number 70000: "
    "hrpc.with_listen_port takes 1 to 65535, or 0 for any free port",
    ("run", "app", "--host", ""): "--host, --port: hrpc.with_listen_port(host=''): "
    "takes an address such as 0.0.0.0, 127.0.0.1 or ::",
    ("run", "away"): "there is no module 'away' in {folder} or among the installed packages",
    ("run", "away.from_here:app"): "there is no module 'away' in {folder} or among the installed packages",
    ("run", "app.more"): "there is no module 'app.more' in {folder} or among the installed packages",
    ("run", "folder/app.py"): "'folder/app.py' is not module:name; take the module's dotted name, such as app:server",
    ("run", "app.py:server"): "'app.py:server' is not module:name; take the module's dotted name, such as app:server",
    ("run", "app:main"): "app has no 'main'; did you mean app:server?",
    ("run", "named"): "named:server is not what hrpc.new_server gives, but of type int; did you mean named:app?",
    ("run", "sys:path"): "sys:path is not what hrpc.new_server gives, but of type list",
}

FAILURES: dict[tuple[str, ...], str] = {
    ("run", "needs"): "{folder}/needs.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    ("run", "wrong"): "{folder}/wrong.py:3: invalid port number 99999: "
    "hrpc.with_listen_port takes 1 to 65535, or 0 for any free port",
    ("run", "nameless"): '{folder}/nameless.py:2: missing server name: pass hrpc.with_server_name("…") to new_server',
}


@pytest.fixture
def modules(command: Command) -> Command:
    for name, code in MODULES.items():
        command.module(name, code)
    return command


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_a_wrong_use_is_one_line_and_code_2(modules: Command, arguments: tuple[str, ...]) -> None:
    done = modules(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"hrpc: {USAGE[arguments].format(folder=modules.folder)}\n"


@pytest.mark.parametrize("arguments", FAILURES, ids=" ".join)
def test_a_module_that_cannot_be_used_is_one_line_with_its_place_and_code_1(
    modules: Command, arguments: tuple[str, ...]
) -> None:
    done = modules(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"hrpc: {FAILURES[arguments].format(folder=modules.folder)}\n"


def test_a_name_that_cannot_be_imported_is_one_line(modules: Command) -> None:
    done = modules("run", "wants")
    assert done.returncode == 1
    assert done.stderr.startswith(f"hrpc: {modules.folder}/wants.py:1: ImportError: cannot import name")
    assert done.stderr.count("\n") == 1


def test_an_exception_of_the_module_shows_its_own_traceback_only(modules: Command) -> None:
    done = modules("run", "fails")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    places = [line.split(",")[:2] for line in done.stderr.splitlines() if line.startswith("  File")]
    path = f'  File "{modules.folder}/fails.py"'
    assert places == [[path, " line 4"], [path, " line 2"]]
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_module_with_a_syntax_error_shows_its_line(modules: Command) -> None:
    done = modules("run", "typo")
    assert done.returncode == 1
    assert done.stderr.startswith(f'  File "{modules.folder}/typo.py", line 1\n')
    assert done.stderr.endswith("SyntaxError: invalid syntax\n")


def test_a_module_that_exits_keeps_its_code(modules: Command) -> None:
    assert modules("run", "leaves").returncode == 7


def test_dev_refuses_production(modules: Command) -> None:
    done = modules("run", "prod", "--dev")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "hrpc: --dev is for development, and prod has hrpc.with_environment('production'): leave --dev out, "
        "or choose another environment"
    )


def test_dev_refuses_a_second_consul(modules: Command) -> None:
    done = modules("run", "app", "--dev", CONFIGS_ADDR="10.0.0.1:8500")
    assert done.returncode == 2
    assert done.stderr == (
        "hrpc: --dev brings a Consul of its own, and CONFIGS_ADDR=10.0.0.1:8500 names another: leave one out\n"
    )


def test_a_start_that_fails_is_in_the_log_and_code_1(modules: Command, free_port: int) -> None:
    done = modules("run", "app", "--port", "0", CONFIGS_ADDR=f"127.0.0.1:{free_port}")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"a did not start: \[step \d+/\d+\] consul: ", done.stdout)
    assert f"no answer from Consul at http://127.0.0.1:{free_port}" in done.stdout


def test_version() -> None:
    done = subprocess.run([sys.executable, "-m", "hrpc.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"hrpc {__version__}\n"


def test_the_installed_command_is_the_same(modules: Command) -> None:
    command = sys.executable.rpartition("/")[0] + "/hrpc"
    done = subprocess.run([command, "run", "away"], capture_output=True, text=True, cwd=modules.folder, check=False)
    assert done.returncode == 2
    assert done.stderr == f"hrpc: there is no module 'away' in {modules.folder} or among the installed packages\n"


def test_without_click_it_says_what_to_install() -> None:
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'click' else find(name, *rest)\n"
        "from hrpc.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hrpc's command line needs click: pip install 'hrpc[cli]'\n"
