"""Redis or Valkey as the engine: jobs, streams and channels for many machines.

There is no broker process. What the broker does in one transaction, a server-side script does here; what it does
on a timer, every client does, once a second. See docs/decisions for why it is so.
"""

from headgate.drivers.redis.engine import RedisEngine

__all__ = ["RedisEngine"]
