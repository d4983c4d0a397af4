"""RabbitMQ for hrpc services: publishing, and consumers in the life of the server."""
