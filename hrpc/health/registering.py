"""What users say of the health of their service, checked and put where the probes find it."""

from __future__ import annotations

from hrpc import _runtime
from hrpc._runtime import Hook
from hrpc.errors import OptionError
from hrpc.health.checker import Checker, Kind
from hrpc.health.state import TAKEN, Health, slot
from hrpc.option import checks


def check(name: str, function: Hook, kind_name: str, timeout: float, every: float | None) -> None:
    """See `hrpc.health.check`."""
    option = "health.check"
    checker = Checker(
        checks.text(option, "name", name),
        function,
        kind(option, kind_name),
        checks.seconds(option, "timeout", timeout, 0.001),
        None if every is None else checks.seconds(option, "every", every, 0.01),
    )
    if not callable(function):
        raise OptionError(f"health.check({name!r}): takes a function without arguments, not {function!r}")
    if _runtime.current() is not None:
        current().register(checker)
        return
    early = {(other.kind, other.name) for other in _runtime.early_health_checks}
    if name in TAKEN or (checker.kind, name) in early:
        raise OptionError(f"health.check({name!r}): {kind_name} has a part of this name already; give it another")
    _runtime.early_health_checks.append(checker)


def current() -> Health:
    """The health of the running server. Raises `NotRunning`."""
    return slot.get()


def kind(option: str, name: object) -> Kind:
    """The kind of this name. Raises `OptionError`."""
    if name not in list(Kind):
        raise OptionError(f"{option}(kind={name!r}): takes {', '.join(map(repr, map(str, Kind)))}")
    return Kind(str(name))


def reason(option: str, text: object) -> str:
    """A reason that can be shown. Raises `OptionError`."""
    return checks.text(option, "reason", text)


def service(option: str, name: object) -> str:
    """The name of a gRPC service, or the empty one. Raises `OptionError`."""
    if not isinstance(name, str):
        raise OptionError(f'{option}: takes the full name of a service, "package.Service", not {name!r}')
    return name
