"""``hrpc run``: serves what a module has made, and for development starts it anew when a file changes."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from hrpc.cli.errors import UsageError
from hrpc.cli.load import load
from hrpc.cli.reload.line import Watched
from hrpc.errors import OptionError
from hrpc.option import Environment, Option, processes, with_listen_port
from hrpc.server import Server


@click.command()
@click.argument("target", metavar="MODULE:SERVER")
@click.option("--dev", is_flag=True, help="With a fake Consul, shared by all services run so.")
@click.option("--host", help="The address of the interface to listen on, instead of the server's own.")
@click.option("--port", type=int, help="The port to serve gRPC on, instead of the server's own; 0 is any free one.")
@click.option("--workers", metavar="N|auto", help="How many processes serve, instead of the server's own number.")
@click.option("--reload", is_flag=True, help="Starts again when a source or proto file changes; for development.")
@click.option(
    "--reload-dir",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder whose files --reload watches, instead of the current one; may be given several times.",
)
def run(
    target: str,
    dev: bool,
    host: str | None,
    port: int | None,
    workers: str | None,
    reload: bool,
    folders: tuple[Path, ...],
) -> None:
    """Serves until SIGTERM or Ctrl-C. SERVER is the name in MODULE of what hrpc.new_server gave, or "server"."""
    watched = Watched.of_this_process()
    if folders and not reload:
        raise UsageError("--reload-dir is for --reload, which is missing")
    if workers is not None:
        _choose_workers(workers, alone="--dev" if dev else "--reload" if reload else None)
    with ExitStack() as stack:
        if dev and watched is None:
            from hrpc.cli.dev import dev_consul

            line = stack.enter_context(dev_consul())
            click.echo(f"hrpc --dev: {line}", err=True)
        if reload and watched is None:
            from hrpc.cli.reload.watcher import watch

            sys.exit(watch([folder.resolve() for folder in folders or (Path.cwd(),)]))
        if watched is not None:
            stack.enter_context(watched)
            # Two changes within a second that keep the size of a file would leave the code of the first one in use.
            sys.dont_write_bytecode = True
        server = load(target)
        if dev and server.settings.environment is Environment.PRODUCTION:
            raise UsageError(
                f"--dev is for development, and {target} has hrpc.with_environment('production'): leave --dev out, "
                "or choose another environment"
            )
        _listen(server, host, port)
        if dev or watched is not None:
            _serve_alone(server, "--dev" if dev else "--reload")
        if watched is not None:
            _listen_where_held(server, watched)
        server.serve()


def _choose_workers(given: str, alone: str | None) -> None:
    if alone is not None:
        raise UsageError(f"--workers does not go with {alone}, which is for development and serves by one process")
    try:
        count = processes.checked("--workers", int(given) if given.isdecimal() else given)
    except OptionError as error:
        raise UsageError(str(error)) from None
    os.environ[processes.ENVIRONMENT] = str(count)


def _serve_alone(server: Server, flag: str) -> None:
    """Leaves out the workers of the service: what --dev runs beside it are threads, which cannot be forked."""
    wanted = server.settings.workers
    if wanted == 1:
        return
    os.environ.pop(processes.ENVIRONMENT, None)
    server.apply(Option(f"hrpc run {flag}", {"workers": 1}))
    click.echo(f"hrpc {flag}: serves by one process; hrpc.with_workers({wanted!r}) is for without {flag}", err=True)


def _listen(server: Server, host: str | None, port: int | None) -> None:
    if host is None and port is None:
        return
    own = server.settings
    try:
        server.apply(with_listen_port(own.port if port is None else port, own.host if host is None else host))
    except OptionError as error:
        raise UsageError(f"--host, --port: {error}") from None


def _listen_where_held(server: Server, watched: Watched) -> None:
    own = server.settings
    port = watched.port(own.host, own.port)
    server.apply(Option("hrpc run --reload", {"port": port, "port_is_held": True}))
    watched.end_with_watcher()
