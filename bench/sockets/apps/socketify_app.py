"""The broadcast and the echo on socketify, with the WebSocket settings of its documentation's examples."""

import os

from socketify import App, CompressOptions, OpCode

app = App()


def opened(ws):
    ws.subscribe("all")


def message(ws, text, opcode):
    ws.send(text, opcode)


async def publish(res, req):
    times = int(req.get_query("times") or 1)
    text = await res.get_text()
    for _ in range(times):
        app.publish("all", text, OpCode.TEXT)
    res.write_status(204).end_without_body()


app.ws(
    "/ws",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 16 * 1024 * 1024,
        "idle_timeout": 120,
        "open": opened,
        "message": message,
    },
)
app.post("/publish", publish)
app.listen({"port": int(os.environ["PORT"]), "host": "127.0.0.1"})
app.run()
