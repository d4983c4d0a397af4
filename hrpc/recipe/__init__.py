"""What the recipes for databases and message queues are made of: settings, the servers that these name, TLS to them."""
