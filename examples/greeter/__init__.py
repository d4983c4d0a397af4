"""A service without a database."""
