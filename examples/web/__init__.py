"""HTTP and a schedule beside gRPC."""
