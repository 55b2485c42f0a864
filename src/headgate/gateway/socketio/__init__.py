"""Socket.IO in the gateway: Engine.IO sessions, namespaces, rooms and fan-out; events run in app workers."""
