"""Kafka for hrpc services: producing, and group consumers in the life of the server."""
