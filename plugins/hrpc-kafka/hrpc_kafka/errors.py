"""What aiokafka's errors mean here."""

from __future__ import annotations

from aiokafka import errors as kafka

from hrpc.errors import QueueError, QueueRefused, QueueUnavailable
from hrpc_kafka.settings import KafkaSettings

_HINTS: dict[type[BaseException], str] = {
    kafka.UnknownTopicOrPartitionError: "there is no such topic: create it, or let the brokers create topics",
    kafka.TopicAuthorizationFailedError: "no permission for the topic: change the ACLs of the user",
    kafka.GroupAuthorizationFailedError: "no permission for the group: change the ACLs of the user",
    kafka.ClusterAuthorizationFailedError: "no permission to send idempotently: give the user IdempotentWrite, or set "
    "idempotent to false",
    kafka.MessageSizeTooLargeError: "the message is too large: see max_message_bytes here and max.message.bytes there",
    kafka.AuthenticationFailedError: "the user or the password is wrong",
    kafka.SaslAuthenticationFailed: "the user or the password is wrong",
    kafka.UnsupportedSaslMechanismError: "the brokers do not know this SASL mechanism",
    kafka.InvalidTopicError: "a topic cannot have this name",
}
_REFUSALS = tuple(_HINTS)


def told(settings: KafkaSettings, doing: str, error: BaseException) -> QueueError:
    """The error to raise for one of aiokafka, which names the brokers and what was done."""
    kind: type[QueueError] = QueueUnavailable
    if isinstance(error, _REFUSALS) or not (isinstance(error, TimeoutError | OSError) or _is_passing(error)):
        kind = QueueRefused
    why = _HINTS.get(type(error)) or _words(error)
    return settings.fault(kind, f"{settings.place}: {doing}: {why}{_advice(settings, error)}")


def _is_passing(error: BaseException) -> bool:
    passing = kafka.KafkaConnectionError | kafka.KafkaTimeoutError | kafka.RequestTimedOutError
    return isinstance(error, passing) or bool(getattr(error, "retriable", False))


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time; are the brokers there?"
    return f"{type(error).__name__}: {error}"


def _advice(settings: KafkaSettings, error: BaseException) -> str:
    if isinstance(error, OSError | kafka.KafkaConnectionError):
        return f"; check that a broker is there, and 'brokers' and 'tls' in {settings.origin}"
    return ""
