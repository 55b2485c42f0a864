"""The link: framed msgpack between a gateway and an app worker over a Unix socket.

An app worker dials the link socket of every gateway; each pair shares one connection that carries many
streams. A gateway opens streams (a request, a handshake, an event); the worker answers on them.
"""
