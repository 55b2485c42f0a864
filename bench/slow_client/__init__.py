"""What a server keeps for a client that does not read, and what becomes of the client beside it."""
