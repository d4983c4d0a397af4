"""The databases of a service: `hrpc.database.mysql` and `hrpc.database.redis`.

Importing them imports no driver; a driver is imported when its database is opened.
"""
