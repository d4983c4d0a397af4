"""Services that live beside gRPC: set up at once, run at once, and released when every run has returned."""
