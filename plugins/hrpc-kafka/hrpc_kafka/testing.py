"""A Kafka for tests, without a broker: librdkafka's mock cluster, which speaks Kafka's protocol on 127.0.0.1.

It is a part of ``pip install confluent-kafka`` and what the tests of librdkafka itself run against. It keeps messages
in memory, has topics, partitions and consumer groups, and is not a Kafka in all: it checks no users, keeps no more than
some megabytes of a partition, and of two consumers that join a group at once, one may have to join again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PRODUCER = 0
_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p


class MockCluster:
    """A running one. Topics are made when they are used first, with 4 partitions, or by `create`."""

    def __init__(self, library: ctypes.CDLL, handle: int, brokers: int) -> None:
        self._library = library
        self._handle = handle
        self._brokers = range(1, brokers + 1)

    @property
    def address(self) -> str:
        """The brokers, for ``kafka.new(brokers=…)``."""
        found: bytes = self._call("rd_kafka_mock_cluster_bootstraps", _S)
        return found.decode()

    def create(self, topic: str, partitions: int = 1) -> None:
        """Makes a topic."""
        self._call("rd_kafka_mock_topic_create", _I, (_S, topic.encode()), (_I, partitions), (_I, 1))

    def deny(self, topic: str, code: int) -> None:
        """Whoever asks for this topic is told this error of Kafka's protocol, such as 29 for no permission."""
        self._call("rd_kafka_mock_topic_set_error", None, (_S, topic.encode()), (_I, code))

    def down(self) -> None:
        """All brokers close their connections and take none."""
        for broker in self._brokers:
            self._call("rd_kafka_mock_broker_set_down", _I, (ctypes.c_int32, broker))

    def up(self) -> None:
        """All brokers are back, with what they had."""
        for broker in self._brokers:
            self._call("rd_kafka_mock_broker_set_up", _I, (ctypes.c_int32, broker))

    def fail(self, request: int, *codes: int) -> None:
        """The next requests with this key of Kafka's protocol are answered with these errors of the protocol."""
        kinds = [(_I, code) for code in codes]
        self._call(
            "rd_kafka_mock_push_request_errors", None, (ctypes.c_int16, request), (ctypes.c_size_t, len(codes)), *kinds
        )

    def _call(self, name: str, result: Any, *arguments: tuple[Any, Any]) -> Any:
        function = self._library[name]
        function.restype, function.argtypes = result, [_P, *(kind for kind, _ in arguments)]
        return function(self._handle, *(value for _, value in arguments))


@contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    """Runs a mock cluster with so many brokers. Raises ModuleNotFoundError without confluent-kafka.

    ::

        with mock_cluster() as cluster:
            server = hrpc.new_server(..., hrpc.with_message_queues(kafka.new(brokers=cluster.address)))
    """
    library = _library()
    configuration = _function(library, "rd_kafka_conf_new", _P)()
    _function(library, "rd_kafka_conf_set", _I, _P, _S, _S, _S, ctypes.c_size_t)(
        configuration, b"log_level", b"3", None, 0
    )
    error = ctypes.create_string_buffer(512)
    client = _function(library, "rd_kafka_new", _P, _I, _P, _S, ctypes.c_size_t)(
        _PRODUCER, configuration, ctypes.cast(error, _S), len(error)
    )
    if not client:
        raise RuntimeError(f"librdkafka: {error.value.decode()}")
    handle = _function(library, "rd_kafka_mock_cluster_new", _P, _P, _I)(client, brokers)
    try:
        # Three seconds otherwise, as a broker waits for further consumers when a group is new.
        _function(library, "rd_kafka_mock_group_initial_rebalance_delay_ms", None, _P, ctypes.c_int32)(handle, 50)
        yield MockCluster(library, handle, brokers)
    finally:
        _function(library, "rd_kafka_mock_cluster_destroy", None, _P)(handle)
        _function(library, "rd_kafka_destroy", None, _P)(client)


def _library() -> ctypes.CDLL:
    import confluent_kafka

    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    found = sorted(folder.glob("librdkafka*"))
    if not found:
        raise ModuleNotFoundError(f"no librdkafka in {folder}: install confluent-kafka from its wheel")
    return ctypes.CDLL(str(found[0]))


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = library[name]
    function.restype, function.argtypes = result, list(arguments)
    return function
