"""`headgate watch`: blocking calls caught in the act and named, on asyncio, uvloop, eventlet, gevent and threads.

What runs inside a watched process uses nothing but the standard library, so that it can be carried into the
environment of any service. Importing this package loads nothing else.
"""
