#!/bin/sh
# The original's command line; one worker, as Flask-SocketIO's documentation demands of it. PORT and DATABASE_URL are set.
exec gunicorn -k eventlet -w 1 --worker-connections 2000 -b "127.0.0.1:${PORT}" --chdir "$(dirname "$0")/.." app:app
