"""The agents that registrations are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer


class Agent(Protocol):
    """An agent to register at."""

    @property
    def address(self) -> str: ...


@pytest.fixture(params=["devconsul", "consul"])
def either(request: pytest.FixtureRequest) -> Iterator[Agent]:
    """The embedded agent, which has to do all that the real one does, and the real one."""
    if request.param == "devconsul":
        with DevConsul.in_thread() as fake:  # the loops of these tests are blocked on purpose
            yield fake
    else:
        real: ConsulServer = request.getfixturevalue("consul")
        yield real
