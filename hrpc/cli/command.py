"""The commands, and how they say that something went wrong."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import click

from hrpc._version import __version__
from hrpc.cli.doctor.command import doctor
from hrpc.cli.errors import CommandError, UsageError
from hrpc.cli.load import load
from hrpc.cli.services import services
from hrpc.errors import HrpcError, OptionError
from hrpc.option import Environment, with_listen_port
from hrpc.server import Server


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


@click.group(no_args_is_help=False)
@click.version_option(__version__, package_name="hrpc", message="hrpc %(version)s")
def hrpc() -> None:
    """Starts gRPC services the way production runs them."""


hrpc.add_command(services)
hrpc.add_command(doctor)


@hrpc.command()
@click.argument("target", metavar="MODULE:SERVER")
@click.option("--dev", is_flag=True, help="With a fake Consul, shared by all services run so.")
@click.option("--host", help="The address of the interface to listen on, instead of the server's own.")
@click.option("--port", type=int, help="The port to serve gRPC on, instead of the server's own; 0 is any free one.")
def run(target: str, dev: bool, host: str | None, port: int | None) -> None:
    """Serves until SIGTERM or Ctrl-C. SERVER is the name in MODULE of what hrpc.new_server gave, or "server"."""
    with ExitStack() as stack:
        if dev:
            from hrpc.cli.dev import dev_consul

            line = stack.enter_context(dev_consul())
            click.echo(f"hrpc --dev: {line}", err=True)
        server = load(target)
        if dev and server.settings.environment is Environment.PRODUCTION:
            raise UsageError(
                f"--dev is for development, and {target} has hrpc.with_environment('production'): leave --dev out, "
                "or choose another environment"
            )
        _listen(server, host, port)
        server.serve()


def _listen(server: Server, host: str | None, port: int | None) -> None:
    if host is None and port is None:
        return
    own = server.settings
    try:
        server.apply(with_listen_port(own.port if port is None else port, own.host if host is None else host))
    except OptionError as error:
        raise UsageError(f"--host, --port: {error}") from None
