"""SQLite: one writer at a time, executemany, with the checkpoint in the same transaction."""
