"""The Redis engine alone: claims one by one and in batches, latency, what waiting costs."""
