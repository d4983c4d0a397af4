"""Tracing with OpenTelemetry: the spans of calls, databases and Consul, and where they go.

Imported only where tracing is asked for. The attributes are those of OpenTelemetry's semantic conventions
(https://opentelemetry.io/docs/specs/semconv/), for RPC in the names that replaced ``rpc.system``, ``rpc.service`` and
``rpc.grpc.status_code``. The words of errors and the values of statements are left out: they can be secrets.
"""
