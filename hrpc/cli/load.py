"""From ``module:server`` to the server."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType, TracebackType

from hrpc.cli.errors import CommandError, UsageError
from hrpc.errors import OptionError
from hrpc.server import Server

DEFAULT_NAME = "server"


def load(target: str) -> Server:
    """The server that ``module:name`` names; the name is ``server`` when there is none.

    The module is looked for in the current directory first. Raises `UsageError` when there is no such module or
    server, `CommandError` when an import of the module's own fails or an option of its is wrong. Any other error of
    the module is printed as Python prints it, without the frames above the module, and raised as SystemExit.
    """
    module_name, _, name = target.partition(":")
    name = name or DEFAULT_NAME
    if not all(part.isidentifier() for part in module_name.split(".")) or os.path.isfile(module_name):
        raise UsageError(f"{target!r} is not module:name; take the module's dotted name, such as app:server")
    found = _imported(module_name)
    try:
        server = getattr(found, name)
    except AttributeError:
        raise UsageError(f"{module_name} has no {name!r}{_servers_of(found)}") from None
    if not isinstance(server, Server):
        raise UsageError(
            f"{module_name}:{name} is not what hrpc.new_server gives, but of type {type(server).__name__}"
            f"{_servers_of(found)}"
        )
    return server


def _imported(name: str) -> ModuleType:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {error.name!r} in {here} or among the installed packages") from None
        raise CommandError(f"{_place(error)}: {type(error).__name__}: {error}") from error
    except OptionError as error:
        raise CommandError(f"{_place(error)}: {error}") from error
    except Exception as error:  # noqa: BLE001 - it is the user's own, and shown as Python would
        traceback.print_exception(error.with_traceback(_of_user(error)))
        raise SystemExit(1) from None


def _place(error: BaseException) -> str:
    """File and line of the user's module where an error came up."""
    frames = traceback.extract_tb(_of_user(error))
    users = [frame for frame in frames if not frame.filename.startswith("<") and not _is_installed(frame.filename)]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else "the import"


def _of_user(error: BaseException) -> TracebackType | None:
    """The traceback from the module on, without our frames and those of Python's import."""
    trace = error.__traceback__
    machinery = (__file__, importlib.__file__)
    while trace and (trace.tb_frame.f_code.co_filename in machinery or _is_frozen(trace)):
        trace = trace.tb_next
    return trace


def _is_frozen(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith("<frozen importlib")


def _is_installed(path: str) -> bool:
    return "site-packages" in path or path.startswith(_PACKAGE)


_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def _servers_of(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Server)]
    return f"; did you mean {module.__name__}:{names[0]}?" if names else ""
