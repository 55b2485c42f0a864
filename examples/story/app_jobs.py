"""The price desk on Headgate, with the update as a job: it runs in a process of its own, and reports progress."""

import os

import psycopg
from flask import Flask, jsonify, request
from psycopg.rows import dict_row

from headgate import Headgate

DATABASE_URL = os.environ["DATABASE_URL"]
BLOCK = 4000
BLOCKS = 49

app = Flask(__name__)
gate = Headgate(app)


def connect():
    return psycopg.connect(DATABASE_URL, row_factory=dict_row)


@gate.job(queue="bulk", retries=3, timeout=120)
def reprice(job, block):
    """Raise the prices of one block by a tenth of a percent, row by row, all or none."""
    first = block % BLOCKS * BLOCK
    updated = 0
    with connect() as connection:
        for row_id in range(first, first + BLOCK):
            cursor = connection.execute(
                "UPDATE prices SET price = price * 1.001, changes = changes + 1, changed_at = now() WHERE id = %s",
                (row_id,),
            )
            updated += cursor.rowcount
            if updated % 1000 == 0:
                job.progress(updated, BLOCK)
    return {"type": "answer", "id": block, "updated": updated}


@gate.socket("/ws")
def desk(sock, message):
    if message["type"] == "click":
        return {"type": "answer", "id": message["id"]}
    handle = reprice.enqueue(message["id"])
    sock.follow(handle)
    return {"type": "accepted", "id": message["id"], "job_id": handle.id}


@app.get("/health")
def health():
    return jsonify(ok=True)


@app.get("/prices/<int:price_id>")
def show_price(price_id):
    with connect() as connection:
        row = connection.execute("SELECT id, sku, price, changes FROM prices WHERE id = %s", (price_id,)).fetchone()
    if row is None:
        return jsonify(error="no such price"), 404
    return jsonify(row)


@app.post("/reprice")
def reprice_route():
    return reprice.enqueue(request.get_json()["block"]).accepted()
