"""Makes the table of the orders service, with its settings and no port: ``python -m examples.orders.migrate``."""

from examples.orders import schema
from examples.orders.app import server

if __name__ == "__main__":
    server.run(schema.create)
