"""The option of the audit log."""

from __future__ import annotations

from collections.abc import Iterable

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import AuditSettings, Option


def with_audit_log(
    enabled: bool = True,
    *,
    sample: float = 1.0,
    slow: float | None = 1.0,
    payloads: bool = False,
    payload_limit: int = 4096,
    redact: Iterable[str] = (),
) -> Option:
    """The log line of each call, which is there when this is not given; ``with_audit_log(False)`` turns it off.

    `sample` is the share of lines that is kept, 1 for all; a call that failed, or took `slow` seconds or more (None:
    however long it took), always has its line. `payloads` puts the request and the response into the line, as JSON
    text of at most `payload_limit` characters; what is streamed is not there, and a message of more than 8 times as
    many bytes is shown by its size only.

    Fields that are marked ``debug_redact`` in the .proto file are shown as ``[redacted]``, and so are, at every depth,
    those with one of these names: ``*password*``, ``*passwd*``, ``*secret*``, ``*token``, ``*apikey``,
    ``*privatekey``, ``*credential*``, ``authorization``, ``cookie``, ``setcookie``; `redact` adds to them. ``*`` stands
    for any letters; case, ``_`` and ``-`` don't count. A message that is no protobuf message and no dict, list
    or dataclass cannot be looked into: only its size is shown. Raises `OptionError`.

    ::

        hrpc.with_audit_log(sample=0.01, payloads=True, redact=["card_number", "*email*"])
    """
    option = "hrpc.with_audit_log"
    if isinstance(redact, str):
        raise OptionError(f"{option}(redact={redact!r}): takes a list of names, [{redact!r}]")
    names = tuple(redact)
    for name in names:
        if not isinstance(name, str) or not name.strip("_- "):
            raise OptionError(f"{option}(redact=…): {name!r} is not the name of a field")
    for parameter, flag in (("enabled", enabled), ("payloads", payloads)):
        if not isinstance(flag, bool):
            raise OptionError(f"{option}({parameter}={flag!r}): takes True or False")
    audit = AuditSettings(
        enabled,
        checks.share(option, "sample", sample),
        None if slow is None else checks.seconds(option, "slow", slow),
        payloads,
        checks.count(option, "payload_limit", payload_limit, 1, 1024 * 1024),
        names,
    )
    return Option("with_audit_log", {"audit": audit})
