"""The three times of a job that a user feels: enqueueing it, many enqueueing, and its first line."""
