"""What hrpc costs, measured beside other ways to serve gRPC with Python: ``make bench``."""
