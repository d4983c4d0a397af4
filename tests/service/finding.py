"""A discovery that a test turns: it says what is asked of it, and shows what the test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hrpc.abc import Instance, Selection
from hrpc.consul.watch import Watch


def instance(name: str, number: int, **more: object) -> Instance:
    return Instance(f"{name}-{number}", name, "127.0.0.1", 4000 + number, **more)  # type: ignore[arg-type]


class Found:
    """The contract `Discovery`, from what `show` was given."""

    def __init__(self) -> None:
        self.watches: dict[Selection, Watch[tuple[Instance, ...]]] = {}
        self.released: list[Selection] = []

    def instances(self, selection: Selection) -> Watch[tuple[Instance, ...]]:
        async def never(index: int | None, wait: float) -> tuple[int, tuple[Instance, ...]]:
            raise NotImplementedError

        return self.watches.setdefault(selection, Watch(f"service {selection.name!r}", never, ()))

    def fetch_instances(self, selection: Selection) -> Sequence[Instance]:
        return self.watches[selection].value

    def release(self, selection: Selection) -> None:
        del self.watches[selection]
        self.released.append(selection)

    async def services(self) -> Mapping[str, Sequence[str]]:
        return {selection.name: selection.tags for selection in self.watches}

    def show(self, selection: Selection, *instances: Instance) -> None:
        self.instances(selection).accept(instances)
