"""Job workers: the main thread runs jobs one at a time, a loop in another thread holds their leases."""
