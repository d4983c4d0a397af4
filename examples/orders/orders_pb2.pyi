from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("id", "customer", "cents", "reads")
    ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    id: int
    customer: str
    cents: int
    reads: int
    def __init__(self, id: _Optional[int] = ..., customer: _Optional[str] = ..., cents: _Optional[int] = ..., reads: _Optional[int] = ...) -> None: ...

class CreateOrderRequest(_message.Message):
    __slots__ = ("customer", "cents")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    customer: str
    cents: int
    def __init__(self, customer: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class CreateOrderReply(_message.Message):
    __slots__ = ("order", "greeting", "greeted_by")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    GREETING_FIELD_NUMBER: _ClassVar[int]
    GREETED_BY_FIELD_NUMBER: _ClassVar[int]
    order: Order
    greeting: str
    greeted_by: str
    def __init__(self, order: _Optional[_Union[Order, _Mapping]] = ..., greeting: _Optional[str] = ..., greeted_by: _Optional[str] = ...) -> None: ...

class GetOrderRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...
