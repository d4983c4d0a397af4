"""One call to another service: its attempts, and the object that its caller holds meanwhile."""
