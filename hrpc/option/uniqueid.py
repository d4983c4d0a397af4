"""The option of unique ids."""

from __future__ import annotations

from hrpc.option import checks
from hrpc.option.settings import Option

HIGHEST_NODE = 1023


def with_node_id(node: int) -> Option:
    """The node id in the ids that `hrpc.uniqueid` makes, 0 to 1023: no other instance may have it at the same time.

    With n workers, they share the node ids from this one to n above it: one for each, and one for a worker that takes
    the place of another. Leave as many between two instances. The start fails when another process of this user has the
    node id on this machine. Raises `OptionError` for any other number.

    ::

        hrpc.with_node_id(int(os.environ["NODE"]))
    """
    return Option("with_node_id", {"node_id": checks.count("hrpc.with_node_id", "node", node, 0, HIGHEST_NODE)})
