"""The usual broadcast in Starlette, a set of sockets and a loop over it, and an echo."""

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

sockets = set()


async def listen(socket):
    await socket.accept()
    sockets.add(socket)
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        sockets.discard(socket)


async def publish(request):
    text = (await request.body()).decode()
    for _ in range(int(request.query_params.get("times", 1))):
        for socket in list(sockets):
            await socket.send_text(text)
    return Response(status_code=204)


app = Starlette(routes=[WebSocketRoute("/ws", listen), Route("/publish", publish, methods=["POST"])])
