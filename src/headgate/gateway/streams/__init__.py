"""The HTTP face of streams: the Durable Streams protocol, version 1, below `/-/streams/`."""
