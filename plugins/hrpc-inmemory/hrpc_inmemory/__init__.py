"""A map in memory with a life for each entry, a size limit, single-flight loading and statistics."""
