"""The price desk as its owners wrote it: everything happens in the handler."""

import json
import os

import psycopg
from flask import Flask, jsonify, request
from flask_sock import Sock
from psycopg.rows import dict_row

DATABASE_URL = os.environ["DATABASE_URL"]
BLOCK = 4000
BLOCKS = 49

app = Flask(__name__)
sock = Sock(app)


def connect():
    return psycopg.connect(DATABASE_URL, row_factory=dict_row)


def reprice(block):
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
    return updated


@sock.route("/ws")
def desk(ws):
    while True:
        message = json.loads(ws.receive())
        if message["type"] == "click":
            ws.send(json.dumps({"type": "answer", "id": message["id"]}))
        elif message["type"] == "update":
            updated = reprice(message["id"])
            ws.send(json.dumps({"type": "answer", "id": message["id"], "updated": updated}))


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


@app.get("/prices")
def list_prices():
    first = request.args.get("from", 0, type=int)
    with connect() as connection:
        rows = connection.execute(
            "SELECT id, sku, price, changes FROM prices WHERE id >= %s ORDER BY id LIMIT 100", (first,)
        ).fetchall()
    return jsonify(rows)


@app.post("/reprice")
def reprice_route():
    return jsonify(updated=reprice(request.get_json()["block"]))
