"""The commands, and how they say that something went wrong."""

from __future__ import annotations

import sys

import click

from hrpc._version import __version__
from hrpc.cli import QUICK
from hrpc.cli.doctor.command import doctor
from hrpc.cli.errors import CommandError
from hrpc.cli.offered import Commands
from hrpc.cli.plugins import plugins
from hrpc.cli.run import run
from hrpc.cli.services import services
from hrpc.errors import HrpcError


def run_command_line() -> None:
    """Runs the command; an error that is not the user's own code's is one line on stderr."""
    try:
        code = hrpc.main(prog_name="hrpc", standalone_mode=False)
    except click.UsageError as error:
        _fail(f"{error.format_message()} See {error.ctx.command_path if error.ctx else 'hrpc'} --help", error.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except HrpcError as error:
        _fail(str(error), error.exit_code if isinstance(error, CommandError) else 1)
    sys.exit(code)


def _fail(message: str, code: int) -> None:
    click.echo(f"hrpc: {message}", err=True)
    sys.exit(code)


@click.group(cls=Commands, no_args_is_help=False)
@click.version_option(__version__, package_name="hrpc", message="hrpc %(version)s")
def hrpc() -> None:
    """Starts gRPC services the way production runs them."""


hrpc.add_command(run)
hrpc.add_command(services)
hrpc.add_command(doctor)
hrpc.add_command(plugins)
for _name, _help in QUICK.items():
    # Only for `hrpc --help`: they are run before this module is imported.
    hrpc.add_command(click.Command(_name, help=_help, add_help_option=False))
