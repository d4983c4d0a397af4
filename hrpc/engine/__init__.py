"""What serves gRPC: the engines behind the contract `hrpc.abc.Engine`."""
