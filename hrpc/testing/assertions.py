"""What a test expects of errors; each says what was found instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import grpc

from hrpc.errors import CallError, ManagerError
from hrpc.errors.hosted import Stage

C = TypeVar("C", bound=CallError)
E = TypeVar("E", bound=Exception)


def assert_call_error(
    error: BaseException | None,
    kind: type[C],
    *,
    message: str | None = None,
    issuer: str | None = None,
    code: int | None = None,
    name: str | None = None,
    grpc_code: grpc.StatusCode | None = None,
    source: str | None = None,
    trace: Sequence[str] | None = None,
) -> C:
    """Asserts that a call ended with an error of a class, and with what else is given; gives it.

    `message` is the whole message, `source` the type of the error that it was raised from, and `trace` the names of
    the services that it came through, first the one that raised it.

    ::

        with pytest.raises(OutOfStock) as caught:
            await shop.Order(request)
        assert_call_error(caught.value, OutOfStock, message="only 3 left", trace=["stock", "shop"])
    """
    assert isinstance(error, kind), f"expected {kind.__qualname__}, found {error!r}"
    expected = {
        "message": message,
        "issuer": issuer,
        "error_code": code,
        "name": name,
        "grpc_code": grpc_code,
        "source_type": source,
    }
    wrong = [
        f"{field} is {getattr(error, field)!r} and not {value!r}"
        for field, value in expected.items()
        if value is not None and getattr(error, field) != value
    ]
    names = [hop.app_name for hop in error.trace]
    if trace is not None and names != list(trace):
        wrong.append(f"its trace is {names} and not {list(trace)}")
    assert not wrong, f"{error!r}: {'; '.join(wrong)}"
    return error


def assert_service_error(error: BaseException | None, service_id: str, stage: Stage, kind: type[E]) -> E:
    """Asserts that one hosted service failed at a stage, ``setup``, ``run`` or ``shutdown``; gives its error.

    ::

        error = await manager.ended()
        assert_service_error(error, "consumer", "run", ConnectionError)
    """
    assert isinstance(error, ManagerError), f"expected a ManagerError, found {error!r}"
    group = getattr(error, stage)
    found = [one.error for one in (() if group is None else group.errors) if one.service_id == service_id]
    assert found, f"expected an error of service {service_id!r} at its {stage}, found: {error}"
    assert isinstance(found[0], kind), f"service {service_id!r} failed with {found[0]!r}, and not {kind.__qualname__}"
    return found[0]
