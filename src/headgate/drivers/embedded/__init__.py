"""The embedded engine seen from a client: its wire, its session, and the ports over a Unix socket."""
