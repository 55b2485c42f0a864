"""Streams: one append to many followers, a steady flow to many, and one reader that catches up."""
