"""PostgreSQL: COPY into a stage, then one ordered merge, with psycopg 3."""
