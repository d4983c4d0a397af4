"""Certificates that follow their files, for both ends of a connection."""
