"""Metrics in Prometheus' format.

The names are those that go-grpc-prometheus made common (``grpc_server_…``, with its values for ``grpc_type`` and
``grpc_code``), so that dashboards serve for Go and Python services alike; what is hrpc's own begins with ``hrpc_``.
"""
