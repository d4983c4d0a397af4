"""Plugins in the life of a server: which ones, in which order, and what each adds to it."""
