"""hrpc: start a gRPC service the way production runs it."""
