"""Headgate: your Flask code may block, your sockets never do."""

__version__ = "0.1.0"
