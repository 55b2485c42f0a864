"""Readers of deployments: each turns one kind of file, or a part of a running system, into facts with places."""
