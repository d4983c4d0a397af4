import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallError(_message.Message):
    __slots__ = ("id", "issuer", "code", "grpc_code", "name", "message", "source_error", "source_type", "time", "details", "trace")
    ID_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ERROR_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    id: str
    issuer: str
    code: int
    grpc_code: int
    name: str
    message: str
    source_error: str
    source_type: str
    time: _timestamp_pb2.Timestamp
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    trace: _containers.RepeatedCompositeFieldContainer[Hop]
    def __init__(self, id: _Optional[str] = ..., issuer: _Optional[str] = ..., code: _Optional[int] = ..., grpc_code: _Optional[int] = ..., name: _Optional[str] = ..., message: _Optional[str] = ..., source_error: _Optional[str] = ..., source_type: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ..., trace: _Optional[_Iterable[_Union[Hop, _Mapping]]] = ...) -> None: ...

class Hop(_message.Message):
    __slots__ = ("app_name", "app_host", "stack_trace", "additional_context")
    APP_NAME_FIELD_NUMBER: _ClassVar[int]
    APP_HOST_FIELD_NUMBER: _ClassVar[int]
    STACK_TRACE_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    app_name: str
    app_host: str
    stack_trace: str
    additional_context: str
    def __init__(self, app_name: _Optional[str] = ..., app_host: _Optional[str] = ..., stack_trace: _Optional[str] = ..., additional_context: _Optional[str] = ...) -> None: ...
