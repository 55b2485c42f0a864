"""The measured app: what a Flask API answers most of the time, a small JSON document."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.get("/order/<int:order_id>")
def order(order_id: int) -> Response:
    """A small document, made of the path and the query."""
    lines = [{"sku": f"SKU-{n}", "quantity": n, "price": 9.5 * n} for n in range(1, 6)]
    return jsonify(id=order_id, currency=request.args.get("currency", "EUR"), lines=lines)
