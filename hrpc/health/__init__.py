"""Health: what the server says of itself, over HTTP and over the standard gRPC health service."""
