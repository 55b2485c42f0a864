"""Any other database that SQLAlchemy knows: its own bulk path, the same API and the same guarantees."""
