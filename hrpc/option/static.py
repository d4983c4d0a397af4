"""The option that lists services by hand, and how such a list is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hrpc.abc import Instance
from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import Option, StaticServices

OPTION = "hrpc.with_static_services"


class _Listed(NamedTuple):
    """The keys of one instance in a list."""

    address: str
    weight: int = 1
    tags: Sequence[str] = ()
    meta: Mapping[str, str] = {}
    datacenter: str = ""


def with_static_services(services: Mapping[str, Sequence[str | Mapping[str, Any]]] | str | os.PathLike[str]) -> Option:
    """Services that are not looked for in Consul, or without it: for development and tests.

    `services` has a list of instances by name: each is ``host:port``, or a mapping with ``address`` and, if wanted,
    ``weight``, ``tags`` (beside the environment), ``meta`` (such as ``version``, ``zone``, ``protocol``: ``grpcs``) and
    ``datacenter``. Or it is the path of a JSON file of that form, which is followed: a change counts within a second,
    and one that cannot be read keeps the list as it was, and is told in the log. A name in the list is not looked for
    in Consul.

    ::

        hrpc.with_static_services({"users": ["127.0.0.1:9000", "127.0.0.1:9001"]})
        hrpc.with_static_services("services.json")
    """
    if isinstance(services, str | os.PathLike):
        if not os.fspath(services):
            raise OptionError(f"{OPTION}(''): takes the path of a file, or a list of instances by name")
        return Option("with_static_services", {"static_services": StaticServices(path=os.fspath(services))})
    return Option("with_static_services", {"static_services": StaticServices(listed=read(OPTION, services))})


def read(where: str, services: object) -> dict[str, tuple[Instance, ...]]:
    """The instances by the name of their service. Raises `OptionError`, which begins with `where`."""
    if not isinstance(services, Mapping):
        raise OptionError(f'{where}: takes a list of instances by name, {{"users": ["127.0.0.1:9000"]}}')
    found = {}
    for name, listed in services.items():
        checks.service_name(where, name)
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise OptionError(f'{where}: {name!r} takes a list of instances, such as ["127.0.0.1:9000"]')
        instances = {instance.id: instance for each in listed if (instance := _instance(where, name, each))}
        if len(instances) < len(listed):
            raise OptionError(f"{where}: {name!r} lists an address twice")
        found[name] = tuple(instances.values())
    return found


def _instance(where: str, name: str, given: object) -> Instance:
    place = f"{where}: {name!r}"
    values = {"address": given} if isinstance(given, str) else given
    if not isinstance(values, Mapping) or "address" not in values:
        raise OptionError(f'{place}: {given!r} is neither "host:port" nor has it an "address"')
    unknown = sorted(set(values) - set(_Listed._fields))
    if unknown:
        raise OptionError(f"{place}: {unknown[0]!r} is none of {', '.join(_Listed._fields)}")
    listed = _Listed(**values)
    host, port = _address(place, listed.address)
    return Instance(
        id=f"{name}-{listed.address}",
        name=name,
        address=host,
        port=port,
        weight=checks.count(place, "weight", listed.weight, 1, 65535),
        tags=_texts(place, "tags", listed.tags),
        meta=_meta(place, listed.meta),
        datacenter=_texts(place, "datacenter", [listed.datacenter])[0],
    )


def _address(place: str, address: object) -> tuple[str, int]:
    host, _, port = str(address).rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_bracketed = host != bare
    if not bare or not port.isdecimal() or not 1 <= int(port) <= 65535 or (":" in bare) != is_bracketed:
        raise OptionError(f"{place}: {address!r} is no address: takes host:port, or [IPv6]:port")
    return bare, int(port)


def _texts(place: str, key: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not all(isinstance(each, str) for each in values):
        raise OptionError(f"{place}: {key} is {values!r}: takes text")
    return tuple(values)


def _meta(place: str, meta: object) -> dict[str, str]:
    if not isinstance(meta, Mapping) or not all(isinstance(each, str) for pair in meta.items() for each in pair):
        raise OptionError(f"{place}: meta is {meta!r}: takes texts by name")
    return dict(meta)
