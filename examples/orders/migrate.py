"""Makes the table of the orders service, with its settings and no port: ``python -m examples.orders.migrate``."""

from examples.orders.app import server
from hrpc.database import mysql

TABLE = """
CREATE TABLE IF NOT EXISTS orders (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(100) NOT NULL,
    cents BIGINT NOT NULL
)
"""


async def migrate() -> None:
    await mysql.get().execute(TABLE)


if __name__ == "__main__":
    server.run(migrate)
