#!/bin/sh
# The web server; beside it run as many `rq worker -u "$REDIS_URL" bulk` as there are cores. PORT, REDIS_URL and
# DATABASE_URL are set.
cd "$(dirname "$0")" || exit 1
exec uvicorn --host 127.0.0.1 --port "${PORT}" --log-level warning app:app
