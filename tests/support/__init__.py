"""Real servers for tests and benchmarks: private ports and folders, ended by process id."""
