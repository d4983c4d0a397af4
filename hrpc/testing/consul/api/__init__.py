"""The HTTP API: https://developer.hashicorp.com/consul/api-docs, as far as hrpc uses it."""
