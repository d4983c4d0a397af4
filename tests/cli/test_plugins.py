"""``hrpc plugins``, and the commands that plugins add to ``hrpc``."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command
from tests.distribution import installed

SOURCE = """
import click
import hrpc.errors
import hrpc.plugin

print("imported", file=__import__("sys").stderr)

class Quotes(hrpc.plugin.Plugin):
    name = "acme-quotes"
    commands = {
        "quote": "acme_quotes:quote",
        "run": "acme_quotes:quote",
        "shared": "acme_quotes:quote",
        "number": "acme_quotes:number",
        "away": "acme_away:command",
        "script": "acme_script:command",
    }

class Table(hrpc.plugin.Plugin):
    commands = {"shared": "acme_quotes:quote"}

    def __init__(self, table):
        self.name = f"acme-table {table}"

number = 1

@click.command()
@click.argument("name")
@click.option("--loud", is_flag=True)
def quote(name, loud):
    "Says what somebody has said."
    if name == "nobody":
        raise hrpc.errors.ServiceNotFound(name)
    click.echo(f"{name}: yes{'!' if loud else ''}")
"""


@pytest.fixture
def quotes(command: Command) -> Command:
    names = {"acme-quotes": "acme_quotes:Quotes", "acme-table": "acme_quotes:Table"}
    installed(command.folder, "acme-quotes", names, SOURCE, "2.1")
    return command


def test_installed_plugins_are_a_table_with_what_they_add(quotes: Command) -> None:
    done = quotes("plugins")
    assert (done.returncode, done.stderr) == (0, "imported\n")
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert rows[0] == ["PLUGIN", "VERSION", "PACKAGE", "API", "STATE", "COMMANDS"]
    assert ["acme-quotes", "2.1", "acme-quotes", "1", "ok", "away, number, quote, run, script, shared"] in rows
    assert ["acme-table", "2.1", "acme-quotes", "1", "ok, made in code", "shared"] in rows


def test_a_plugin_that_cannot_be_used_says_why_and_the_code_is_1(quotes: Command) -> None:
    installed(quotes.folder, "acme-away", {"acme-away": "acme_away:Away"}, "import nothing_of_this_name\n")
    installed(quotes.folder, "acme-late", {"acme-late": "acme_late:Late"}, "class Late:\n    name = 'acme-late'\n")
    installed(quotes.folder, "acme-script", {"acme-script": "acme_script:main"}, "raise SystemExit(3)\n")
    done = quotes("plugins")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:-1] == [
        "hrpc: plugin 'acme-away' cannot be imported from 'acme_away:Away' of acme-away 1.0: ModuleNotFoundError: "
        "No module named 'nothing_of_this_name'; repair or uninstall that package",
        "hrpc: plugin 'acme-late' of acme-late 1.0: 'acme-late' is no plugin: it needs load(), which gives an async "
        "context manager",
        "hrpc: plugin 'acme-script' cannot be imported from 'acme_script:main' of acme-script 1.0: SystemExit: 3; "
        "repair or uninstall that package",
    ]
    assert done.stderr.splitlines()[-1].startswith("hrpc: 3 of ")
    assert done.stderr.splitlines()[-1].endswith(" plugins cannot be used")
    assert "acme-away" in done.stdout


def test_installed_plugins_are_json(quotes: Command) -> None:
    found = json.loads(quotes("plugins", "--json").stdout)
    (table,) = (each for each in found if each["name"] == "acme-table")
    assert table == {
        "name": "acme-table",
        "version": "2.1",
        "package": "acme-quotes",
        "api_version": 1,
        "state": "ok, made in code",
        "problem": None,
        "commands": {"shared": "acme_quotes:quote"},
    }


def test_a_command_of_a_plugin_is_run_as_one_of_hrpcs_own(quotes: Command) -> None:
    done = quotes("quote", "ada", "--loud")
    assert (done.returncode, done.stdout) == (0, "ada: yes!\n")
    done = quotes("quote", "nobody")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "hrpc: [nobody] not found or no permission to read")
    done = quotes("quote")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "hrpc: Missing argument 'NAME'. See hrpc quote --help",
    )


def test_the_help_lists_the_commands_of_plugins(quotes: Command) -> None:
    done = quotes("--help")
    assert (done.returncode, done.stderr) == (0, "imported\n")
    assert "  quote     Says what somebody has said.\n" in done.stdout


def test_plugins_are_not_imported_for_a_command_of_hrpcs_own(quotes: Command) -> None:
    for command in ("run", "services", "doctor", "probe"):
        done = quotes(command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "Says what somebody has said" not in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shared", "the plugins 'acme-quotes' and 'acme-table' both have a command 'shared': uninstall one of them"),
        ("number", "plugin 'acme-quotes': its command 'number' is no click.Command, but 'acme_quotes:number' is 1"),
        (
            "away",
            "plugin 'acme-quotes': its command 'away' cannot be imported from 'acme_away:command': "
            "ModuleNotFoundError: No module named 'acme_away'",
        ),
        (
            "script",
            "plugin 'acme-quotes': its command 'script' cannot be imported from 'acme_script:command': SystemExit: 3",
        ),
    ],
)
def test_a_command_that_cannot_be_run_says_why_and_only_when_it_is_wanted(
    quotes: Command, name: str, says: str
) -> None:
    (quotes.folder / "acme_script.py").write_text("raise SystemExit(3)\n")
    done = quotes(name, "--what", "ever")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"hrpc: {says}"


def test_a_command_that_nobody_has_tells_of_the_plugins_that_could_not_be_asked(quotes: Command) -> None:
    installed(quotes.folder, "acme-broken", {"acme-broken": "acme_broken:Broken"}, "1 / 0\n")
    done = quotes("walk")
    assert done.returncode == 2
    *_, told, said = done.stderr.splitlines()
    assert told.startswith("hrpc: plugin 'acme-broken' cannot be imported from 'acme_broken:Broken' of acme-broken 1.0")
    assert said == "hrpc: No such command 'walk'. See hrpc --help"


def test_a_service_whose_plugin_is_missing_says_so_in_one_line(quotes: Command) -> None:
    quotes.module("app", 'import hrpc\nhrpc.new_server(hrpc.with_plugins("acme-quotes", "acme-tables"))\n')
    done = quotes("run", "app")
    assert done.returncode == 1
    *_, said = done.stderr.splitlines()
    assert said.startswith(
        f"hrpc: {quotes.folder}/app.py:2: plugin 'acme-tables' is neither given nor installed: pip install "
        "acme-tables, or pass it to hrpc.with_plugins; installed are acme-quotes, acme-table"
    )
