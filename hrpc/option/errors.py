"""The options of errors: what of them a caller sees, and what counts as one."""

from __future__ import annotations

from hrpc.errors import OptionError
from hrpc.option.settings import ErrorSettings, Option


def with_error_details(
    *, host: bool | None = None, stack: bool = False, context: bool | None = None, source: bool = False
) -> Option:
    """What an `errors.CallError` shows of this server, and of the servers before it, to the caller.

    Name, issuer, code, message, details and the names of the services always go along. `host` is the name of the
    machine, `stack` the lines of code, `context` the notes that ``add_note`` has added, and `source` the words and the
    type of the error that it was raised from: these can hold secrets. None shows it outside of production only.
    """
    for name, value in {"host": host, "stack": stack, "context": context, "source": source}.items():
        if type(value) is not bool and (value is not None or name in ("stack", "source")):
            raise OptionError(f"hrpc.with_error_details({name}={value!r}): takes True or False")
    return Option("with_error_details", {"errors": ErrorSettings(host, stack, context, source)})


def with_not_found() -> Option:
    """A handler of one response that returns None, and has set no status, answers `errors.NotFound`."""
    return Option("with_not_found", {"not_found": True})
