"""The price desk rewritten for Starlette, with RQ for the update: clicks in the loop, work in RQ's workers."""

import asyncio
import contextlib
import json
import os
import uuid

import redis
import redis.asyncio
from rq import Queue
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from tasks import reprice

REDIS_URL = os.environ["REDIS_URL"]
queue = Queue("bulk", connection=redis.from_url(REDIS_URL))
users = {}


async def deliver_results():
    """Hand each result that a worker publishes to the socket of the user who asked."""
    async with redis.asyncio.from_url(REDIS_URL) as client, client.pubsub() as pubsub:
        await pubsub.subscribe("results")
        async for message in pubsub.listen():
            if message["type"] == "message":
                result = json.loads(message["data"])
                socket = users.get(result["user"])
                if socket is not None:
                    await socket.send_text(json.dumps(result["answer"]))


@contextlib.asynccontextmanager
async def lifespan(app):
    task = asyncio.create_task(deliver_results())
    yield
    task.cancel()


async def desk(socket):
    await socket.accept()
    user = uuid.uuid4().hex
    users[user] = socket
    try:
        while True:
            message = json.loads(await socket.receive_text())
            if message["type"] == "click":
                await socket.send_text(json.dumps({"type": "answer", "id": message["id"]}))
            else:
                await run_in_threadpool(queue.enqueue, reprice, message["id"], user)
    except WebSocketDisconnect:
        pass
    finally:
        users.pop(user, None)


async def health(request):
    return JSONResponse({"ok": True})


app = Starlette(routes=[WebSocketRoute("/ws", desk), Route("/health", health)], lifespan=lifespan)
