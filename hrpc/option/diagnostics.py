"""What tells developers and those on call about a server."""

from __future__ import annotations

from hrpc.errors import OptionError
from hrpc.option.debug import DebugSettings, checked_token
from hrpc.option.settings import Option


def with_reflection(wanted: bool = True) -> Option:
    """Whether clients may ask which services and messages there are, as grpcurl and Postman do.

    When not given, they may outside of production, as far as ``hrpc[reflection]`` is installed
    (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md). Raises `OptionError`; the start raises
    `StartError` when it is wanted and not installed.
    """
    return Option("with_reflection", {"reflection": _yes_or_no("hrpc.with_reflection", wanted)})


def with_channelz(wanted: bool = True) -> Option:
    """Whether clients may ask for the connections of the process, the calls on them, and both addresses.

    When not given, they may outside of production, as far as ``hrpc[reflection]`` is installed
    (https://github.com/grpc/proposal/blob/master/A14-channelz.md). Raises `OptionError`; the start raises `StartError`
    when it is wanted and not installed.
    """
    return Option("with_channelz", {"channelz": _yes_or_no("hrpc.with_channelz", wanted)})


def with_debug(token: str | None = None, *, loopback: bool = True) -> Option:
    """Who may read ``/debug/discovery`` and ``/debug/registration`` on the health port (`with_health_check`).

    `token`: whoever sends ``Authorization: Bearer <token>``, from anywhere; it has at least 16 characters, and
    ``HRPC_DEBUG_TOKEN`` wins over it. `loopback`: also, without a token, whoever connects from this machine's loopback
    address; say False where a proxy on the same machine passes the requests of others on. Raises `OptionError`.

    ::

        hrpc.with_debug(token=os.environ["ORDERS_DEBUG_TOKEN"], loopback=False)
    """
    if token is not None:
        checked_token("hrpc.with_debug(token=…)", token)
    return Option("with_debug", {"debug": DebugSettings(token, _yes_or_no("hrpc.with_debug", loopback, "loopback="))})


def _yes_or_no(option: str, wanted: object, parameter: str = "") -> bool:
    if not isinstance(wanted, bool):
        raise OptionError(f"{option}({parameter}{wanted!r}): takes True or False")
    return wanted
