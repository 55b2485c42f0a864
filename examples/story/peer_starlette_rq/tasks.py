"""The update as an RQ task; it tells the web server of its end over Redis."""

import json
import os

import psycopg
import redis

BLOCK = 4000
BLOCKS = 49


def reprice(block, user):
    """Raise the prices of one block by a tenth of a percent, row by row, all or none."""
    first = block % BLOCKS * BLOCK
    updated = 0
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for row_id in range(first, first + BLOCK):
            cursor = connection.execute(
                "UPDATE prices SET price = price * 1.001, changes = changes + 1, changed_at = now() WHERE id = %s",
                (row_id,),
            )
            updated += cursor.rowcount
    answer = {"type": "answer", "id": block, "updated": updated}
    redis.from_url(os.environ["REDIS_URL"]).publish("results", json.dumps({"user": user, "answer": answer}))
    return updated
