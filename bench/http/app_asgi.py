"""The same app behind a2wsgi, whose thread pool has the size that the other servers get."""

from a2wsgi import WSGIMiddleware
from app import app as flask_app

app = WSGIMiddleware(flask_app, workers=8)
