"""The price desk on Headgate, with the update as a job that writes in bulk: progress comes by itself."""

import os

import psycopg
import sqlalchemy as sa
from flask import Flask, jsonify, request
from psycopg.rows import dict_row

from headgate import Headgate, bulk

DATABASE_URL = os.environ["DATABASE_URL"]
BLOCK = 4000
BLOCKS = 49
CHANGES = {"price": "{old} * 1.001", "changes": "{old} + 1", "changed_at": "now()"}

app = Flask(__name__)
gate = Headgate(app)
engine = sa.create_engine(DATABASE_URL.replace("postgresql://", "postgresql+psycopg://"))


def connect():
    return psycopg.connect(DATABASE_URL, row_factory=dict_row)


@gate.job(queue="bulk", retries=3, timeout=120)
def reprice(job, block):
    """Raise the prices of one block by a tenth of a percent; a killed try goes on where it was."""
    first = block % BLOCKS * BLOCK
    rows = [{"id": row_id} for row_id in range(first, first + BLOCK)]
    result = bulk.update("prices", rows, on=engine, set=CHANGES)
    return {"type": "answer", "id": block, "updated": result.written}


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
