"""The errors of orders. Callers import them, too, and catch them."""

import grpc

from hrpc import errors


class OrderNotFound(errors.CallError, issuer="ORDERS", code=2000, grpc_code=grpc.StatusCode.NOT_FOUND):
    """There is no order with this id."""
