"""New code under load: which sockets close, which requests fail."""
