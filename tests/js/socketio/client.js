// One story with the real JavaScript client: `node client.js STORY URL TRANSPORTS`; prints one JSON line at its end.
import { io } from "socket.io-client";
import { stories } from "./stories.js";

const [story, url, transports] = process.argv.slice(2);
const opened = [];

export function open(options = {}, path = "/") {
  const socket = io(url + path, {
    transports: transports.split(","),
    extraHeaders: { Origin: "http://pages.example", Connection: "close" },
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 100,
    ...options,
  });
  opened.push(socket);
  return socket;
}

const limit = setTimeout(() => {
  console.error("the story did not end in time");
  process.exit(2);
}, 20_000);

try {
  const told = await stories[story](open, url);
  console.log(JSON.stringify(told));
  clearTimeout(limit);
  opened.forEach((socket) => socket.disconnect());
  setTimeout(() => process.exit(0), 50);
} catch (error) {
  console.error(error);
  process.exit(1);
}
