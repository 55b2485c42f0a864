"""How a simulated user reaches its target: one wire per user, whatever the protocol."""
