"""How evenly a burst of connections falls on a server's processes."""
