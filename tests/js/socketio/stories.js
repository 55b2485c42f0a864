// What is told at the end of each story is judged by the test.

const once = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
const transportOf = (socket) => socket.io.engine.transport.name;

async function until(condition, what) {
  const end = Date.now() + 8_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what} never came`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function connected(socket) {
  await once(socket, "connect");
  return socket;
}

/** Events, acknowledgements, binary data, rooms. */
async function talk(open) {
  const ada = open({ auth: { name: "ada" } });
  const welcome = once(ada, "welcome");
  await connected(ada);
  const upgraded = ada.io.opts.transports.length === 2;
  if (upgraded) await until(() => transportOf(ada) === "websocket", "the upgrade");
  const echoed = await ada.emitWithAck("echo", [1, "ä\u2028", { deep: [Buffer.from([0, 255])] }]);
  const bob = await connected(open({ auth: { name: "bob" } }));
  const said = once(bob, "said");
  await ada.emitWithAck("enter", "r");
  await bob.emitWithAck("enter", "r");
  ada.emit("say", "r", "hello");
  ada.on("question", (text, answer) => answer(`${text}!`));
  const asked = await ada.emitWithAck("ask", "how");
  return {
    welcome: (await welcome)[0].name,
    same: (await welcome)[0].sid === ada.id,
    echoed: [echoed[0], echoed[1], [...echoed[2].deep[0]]],
    said: (await said)[0],
    asked: asked.answer,
    transport: transportOf(ada),
  };
}

/** Refusals, other namespaces, and the server's disconnect. */
async function borders(open) {
  const banned = open({ auth: { banned: true } });
  const [refusal] = await once(banned, "connect_error");
  const [unknown] = await once(open({}, "/nowhere"), "connect_error");
  const rooms = open({}, "/rooms");
  const [hello] = await once(rooms, "hello");
  const judge = await connected(open({ auth: { name: "judge" } }));
  const victim = await connected(open({ auth: { name: "victim" } }));
  const left = once(judge, "left");
  judge.emit("kick", victim.id);
  const [reason] = await once(victim, "disconnect");
  return {
    refusal: [refusal.message, refusal.data],
    unknown: unknown.message,
    hello,
    reason,
    left: (await left)[0].reason,
  };
}

/** Which of five emits a client gets that was away while they were made. */
async function missed(open, url, before, cut) {
  const other = await connected(open());
  const socket = open();
  const numbers = [];
  socket.on("order", (number) => numbers.push(number));
  await connected(socket);
  const sid = socket.id;
  await before(socket, other, url);
  numbers.length = 0;
  socket.io.reconnection(false);
  const finish = await cut(socket);
  await fetch(`${url}/emit/5`, { method: "POST" });
  await finish();
  await until(() => numbers.length >= 5, "the five missed events").catch(() => {});
  return { numbers, recovered: socket.recovered, same: socket.id === sid };
}

const back = (socket) => async () => {
  socket.connect();
  await once(socket, "connect");
};

/** The TCP connection ends, and the server sees that (of a WebSocket; the end of a poll says nothing). */
async function drop(socket) {
  if (transportOf(socket) !== "websocket") return halfOpen(socket);
  const gone = once(socket, "disconnect");
  socket.io.engine.transport.ws.terminate();
  await gone;
  return back(socket);
}

/** The client gives its connection up, and the server does not see that: nothing is closed. */
async function halfOpen(socket) {
  const engine = socket.io.engine;
  const gone = once(socket, "disconnect");
  engine.transport.doClose = () => {};
  engine.transport.write = () => {};
  engine._onClose("transport error");
  await gone;
  return back(socket);
}

const nothing = async () => {};

const afterAnEvent = async (socket, other, url) => {
  const order = once(socket, "order");
  await fetch(`${url}/emit/1`, { method: "POST" });
  await order;
};

const afterAVolatileText = async (socket, other, url) => {
  await afterAnEvent(socket, other, url);
  const flash = once(socket, "flash");
  socket.emit("flash", "a text that is no offset");
  await flash;
};

export const stories = {
  talk,
  borders,
  returns: (open, url) => missed(open, url, afterAnEvent, drop),
  half_open: (open, url) => missed(open, url, afterAnEvent, halfOpen),
  before_any_event: (open, url) => missed(open, url, nothing, drop),
  after_a_volatile_text: (open, url) => missed(open, url, afterAVolatileText, drop),
};
