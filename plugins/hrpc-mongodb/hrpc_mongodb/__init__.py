"""MongoDB for hrpc services, through PyMongo's own asyncio client."""
