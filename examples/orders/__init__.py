"""A service with MySQL and Redis, which calls the greeter."""
