import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Size(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIZE_UNSPECIFIED: _ClassVar[Size]
    SMALL: _ClassVar[Size]
    LARGE: _ClassVar[Size]
SIZE_UNSPECIFIED: Size
SMALL: Size
LARGE: Size

class Item(_message.Message):
    __slots__ = ("name", "count", "price_cents", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PRICE_CENTS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    price_cents: int
    size: Size
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., price_cents: _Optional[int] = ..., size: _Optional[_Union[Size, str]] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("id", "customer_name", "items", "card", "cash", "barter", "labels", "by_number", "weight", "signature", "created", "patience", "notes", "anything", "list", "attachment", "nickname", "points", "gift", "mask", "nothing", "sizes", "big", "replaces", "urgent", "ratio", "old")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ByNumberEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Item
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Item, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_NAME_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BARTER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    ANYTHING_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    NICKNAME_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    GIFT_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    BIG_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    URGENT_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    id: str
    customer_name: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    card: str
    cash: bool
    barter: Item
    labels: _containers.ScalarMap[str, int]
    by_number: _containers.MessageMap[int, Item]
    weight: float
    signature: bytes
    created: _timestamp_pb2.Timestamp
    patience: _duration_pb2.Duration
    notes: _struct_pb2.Struct
    anything: _struct_pb2.Value
    list: _struct_pb2.ListValue
    attachment: _any_pb2.Any
    nickname: _wrappers_pb2.StringValue
    points: _wrappers_pb2.Int64Value
    gift: _wrappers_pb2.BoolValue
    mask: _field_mask_pb2.FieldMask
    nothing: _struct_pb2.NullValue
    sizes: _containers.RepeatedScalarFieldContainer[Size]
    big: int
    replaces: Order
    urgent: bool
    ratio: float
    old: str
    def __init__(self, id: _Optional[str] = ..., customer_name: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., card: _Optional[str] = ..., cash: _Optional[bool] = ..., barter: _Optional[_Union[Item, _Mapping]] = ..., labels: _Optional[_Mapping[str, int]] = ..., by_number: _Optional[_Mapping[int, Item]] = ..., weight: _Optional[float] = ..., signature: _Optional[bytes] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., patience: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., notes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., anything: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., list: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., attachment: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., nickname: _Optional[_Union[_wrappers_pb2.StringValue, _Mapping]] = ..., points: _Optional[_Union[_wrappers_pb2.Int64Value, _Mapping]] = ..., gift: _Optional[_Union[_wrappers_pb2.BoolValue, _Mapping]] = ..., mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., nothing: _Optional[_Union[_struct_pb2.NullValue, str]] = ..., sizes: _Optional[_Iterable[_Union[Size, str]]] = ..., big: _Optional[int] = ..., replaces: _Optional[_Union[Order, _Mapping]] = ..., urgent: _Optional[bool] = ..., ratio: _Optional[float] = ..., old: _Optional[str] = ...) -> None: ...

class GetOrder(_message.Message):
    __slots__ = ("id", "sizes", "like", "urgent", "since", "gift", "labels", "several", "ratio")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    LIKE_FIELD_NUMBER: _ClassVar[int]
    URGENT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    GIFT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SEVERAL_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    id: str
    sizes: _containers.RepeatedScalarFieldContainer[Size]
    like: Item
    urgent: bool
    since: _timestamp_pb2.Timestamp
    gift: _wrappers_pb2.BoolValue
    labels: _containers.ScalarMap[str, str]
    several: _containers.RepeatedCompositeFieldContainer[Item]
    ratio: float
    def __init__(self, id: _Optional[str] = ..., sizes: _Optional[_Iterable[_Union[Size, str]]] = ..., like: _Optional[_Union[Item, _Mapping]] = ..., urgent: _Optional[bool] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gift: _Optional[_Union[_wrappers_pb2.BoolValue, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., several: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., ratio: _Optional[float] = ...) -> None: ...

class Orders(_message.Message):
    __slots__ = ("orders",)
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ...) -> None: ...

class Count(_message.Message):
    __slots__ = ("to", "fail_with")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    FAIL_WITH_FIELD_NUMBER: _ClassVar[int]
    to: int
    fail_with: str
    def __init__(self, to: _Optional[int] = ..., fail_with: _Optional[str] = ..., **kwargs) -> None: ...

class Number(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: int
    def __init__(self, value: _Optional[int] = ...) -> None: ...

class Book(_message.Message):
    __slots__ = ("name", "title")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ...) -> None: ...
