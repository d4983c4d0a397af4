"""The table of the orders service."""

from hrpc.database import mysql

TABLE = """
CREATE TABLE IF NOT EXISTS orders (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(100) NOT NULL,
    cents BIGINT NOT NULL
)
"""


async def create() -> None:
    await mysql.get().execute(TABLE)
