// The broadcast and the echo as ws's own documentation shows them, beside an HTTP server in one process.
const http = require("http");
const { WebSocketServer, WebSocket } = require("ws");

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const text = Buffer.concat(parts).toString();
    const times = Number(new URL(request.url, "http://host").searchParams.get("times") ?? 1);
    for (let n = 0; n < times; n++) {
      sockets.clients.forEach((client) => {
        if (client.readyState === WebSocket.OPEN) client.send(text);
      });
    }
    response.writeHead(204).end();
  });
});

const sockets = new WebSocketServer({ server, path: "/ws" });
sockets.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});

server.listen(Number(process.env.PORT), "127.0.0.1");
