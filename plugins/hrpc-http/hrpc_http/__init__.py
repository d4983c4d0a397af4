"""HTTP beside gRPC: an ASGI application in the life of a server, by uvicorn.

::

    app = FastAPI()

    @app.get("/orders/{id}")
    async def order(id: int):
        return await mysql.get().query_one("SELECT id, total FROM orders WHERE id = %s", id)

    server = hrpc.new_server(..., hrpc_http.with_asgi(app, port=8080))
"""

from hrpc_http.lifespan import LifespanError
from hrpc_http.service import Asgi, asgi, with_asgi

__all__ = ["Asgi", "LifespanError", "asgi", "with_asgi"]
