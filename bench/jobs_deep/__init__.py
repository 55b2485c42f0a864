"""Whether a million waiting jobs slow the embedded engine."""
