"""A real broker in a container, where an engine with its image is there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from hrpc.testing.servers import ServerFailed, reserved_port
from hrpc.testing.servers.container import container, local_images

IMAGE = "apache/kafka:3.9.1"
_START_LIMIT = 60.0


class Broker:
    """A running one, with what tests need of `hrpc_kafka.testing.MockCluster`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def create(self, topic: str, partitions: int = 1) -> None:
        """Makes a topic, from a thread, because the test has an event loop that runs."""
        thread = threading.Thread(target=lambda: asyncio.run(self._create(topic, partitions)))
        thread.start()
        thread.join()

    async def _create(self, topic: str, partitions: int) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await client.start()
        try:
            with suppress(TopicAlreadyExistsError):
                await client.create_topics([NewTopic(topic, partitions, 1)])
        finally:
            await client.close()

    def wait(self) -> None:
        """Waits until it answers."""
        until = time.monotonic() + _START_LIMIT
        while True:
            try:
                asyncio.run(self._create("started", 1))
                return
            except (KafkaError, OSError) as error:
                if time.monotonic() > until:
                    raise ServerFailed(f"{IMAGE} does not answer within {_START_LIMIT:g} s: {error}") from error
                time.sleep(0.2)


def is_there() -> bool:
    """Whether it can be run here without pulling anything."""
    return IMAGE in local_images()


@contextmanager
def broker() -> Iterator[Broker]:
    """Runs one with the settings that make a single node of KRaft."""
    with reserved_port() as port, reserved_port() as controller:
        environment = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        }
        with container(IMAGE, ["/etc/kafka/docker/run"], environment) as backend:
            backend.start()
            running = Broker(f"127.0.0.1:{port}")
            running.wait()
            yield running
