"""Create and fill the story's table: 196,000 prices in 49 blocks of 4,000. Run again, it starts afresh."""

import os

import psycopg

ROWS = 196_000

STATEMENTS = (
    "DROP TABLE IF EXISTS prices",
    """
    CREATE TABLE prices (
        id integer PRIMARY KEY,
        sku text NOT NULL,
        price numeric(12, 2) NOT NULL,
        currency text NOT NULL DEFAULT 'EUR',
        changes integer NOT NULL DEFAULT 0,
        changed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    f"""
    INSERT INTO prices (id, sku, price)
    SELECT n, 'SKU-' || lpad(n::text, 7, '0'), 5 + (n % 9973) / 100.0 FROM generate_series(0, {ROWS - 1}) AS n
    """,
    "VACUUM ANALYZE prices",
)


def create(url):
    """Create the table in the database at `url`."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in STATEMENTS:
            connection.execute(statement)


if __name__ == "__main__":
    create(os.environ["DATABASE_URL"])
    print(f"prices: {ROWS} rows")
