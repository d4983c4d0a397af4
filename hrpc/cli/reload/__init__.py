"""``hrpc run --reload``: a process that watches files, and one beneath it that serves and is replaced when they change.

The *watcher* imports nothing of the service's, so that no error in it ends the watching. It holds the ports of the
service, so that they stay the same, and nobody else's, while one process ends and the next one starts.
"""
