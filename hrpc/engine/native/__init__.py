"""The native engine, experimental: unary calls through pygrpc-native, everything else by grpcio behind it."""

from hrpc.engine.native.engine import NativeEngine

__all__ = ["NativeEngine"]
