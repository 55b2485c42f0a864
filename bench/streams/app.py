"""On Headgate: a socket that follows the stream that it is asked to."""

from flask import Flask

from headgate import Headgate, Socket

app = Flask(__name__)
gate = Headgate(app)


@gate.socket("/ws")
def ws(sock: Socket, message: dict[str, str]) -> dict[str, str]:
    sock.follow(message["stream"])
    return {"following": message["stream"]}


@app.post("/address/<name>")
def address(name: str) -> str:
    return gate.stream(name).url()
