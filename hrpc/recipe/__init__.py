"""What databases and message queues are opened from: settings, the servers that these name, TLS to them."""

from hrpc.recipe.recipe import Recipe

__all__ = ["Recipe"]
