"""The servers that are compared, each a program of its own: ``python -m benchmarks.servers.grpc_aio --port 50051``.

All serve the same methods of echo.proto with the same messages. What they print is theirs: who started them asks for
an answer until there is one.
"""
