"""Registers an hrpc service with the sidecar-agent of its machine instead of with Consul."""
