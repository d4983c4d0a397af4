"""A real MongoDB for tests, where there is one: a replica set of one member, so that it knows transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from hrpc.testing.servers import Backend, Server, ServerMissing, reserved_port
from hrpc.testing.servers.container import container, local_images
from hrpc.testing.servers.program import find_program, program

IMAGE = "mongo:7"
_NOT_YET_INITIALIZED = 94


class RealMongoDB(Server):
    """A running MongoDB without logins."""

    name = "MongoDB"

    def answers(self) -> bool:
        """Whether it is the primary of its replica set, which it makes when there is none."""
        limits = {"serverSelectionTimeoutMS": 500, "connectTimeoutMS": 500, "socketTimeoutMS": 1000}
        try:
            with MongoClient(self.host, self.port, directConnection=True, **limits) as client:
                try:
                    client.admin.command("replSetGetStatus")
                except OperationFailure as error:
                    if error.code != _NOT_YET_INITIALIZED:
                        raise
                    client.admin.command(
                        "replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": self.address}]}
                    )
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False


@contextmanager
def real_mongodb() -> Iterator[RealMongoDB]:
    """A MongoDB on a free port of 127.0.0.1; raises `ServerMissing` or `ServerFailed`."""
    with reserved_port() as port, _backend(port) as backend:
        server = RealMongoDB(backend, port)
        server.start()
        yield server


def _backend(port: int) -> AbstractContextManager[Backend]:
    options = ["--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "rs0"]
    if IMAGE in local_images():
        return container(IMAGE, ["mongod", *options], {})
    if path := find_program("mongod"):
        return program(path, lambda folder, data: [path, *options, "--dbpath", str(data)])
    raise ServerMissing("MongoDB", IMAGE, "mongod")
