// The order desk's page: clicks, the job, the inline work, and what the server tells of itself.

import { connect, Lost, Refused } from "/-/client.js";
import { Plot } from "./plot.js";

const CLICK_EVERY = 500; // ms
const JOB_KEY = "order-desk-job";
const START = "0".repeat(16); // a page that was loaded anew knows nothing: it wants the job's events from the first on

const $ = (id) => document.getElementById(id);
const plot = new Plot($("plot"));
const desk = connect("/live");
const whole = new Intl.NumberFormat("en");
const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

let rows = 200_000;
let clicks = 0;

// The connection

desk.onstate = (state) => {
  $("connection").className = `pill ${state}`;
  $("connection").textContent = { open: "connected", waiting: "connecting again", closed: "closed" }[state];
  if (state === "open") desk.call({ type: "watch" }).then((answer) => (rows = answer.orders), ignoreLost);
};

desk.onmessage = (message) => {
  if (message.type === "report") showReport(message);
};

function ignoreLost(error) {
  if (!(error instanceof Lost)) throw error;
}

function why(error) {
  if (error instanceof Lost) return "the connection broke: nobody knows how it ended";
  if (error instanceof Refused && error.retryAfter) return `${error.message}: try again in ${error.retryAfter} s`;
  return error.message;
}

// A click

async function click() {
  const start = performance.now();
  const order = 1 + Math.floor(Math.random() * rows);
  try {
    const answer = await desk.call({ type: "click", order });
    const took = performance.now() - start;
    plot.click(took);
    $("you-now").textContent = ms(took);
    $("order").dataset.answers = ++clicks;
    $("order").children[0].textContent = `#${whole.format(answer.number)} ${answer.item}, ${answer.city}`;
    $("order").children[1].textContent = `${answer.price.toFixed(2)} €`;
  } catch (error) {
    ignoreLost(error);
  }
}

$("click").onclick = click;
setInterval(() => {
  if ($("auto").checked && !document.hidden && desk.state === "open") click();
}, CLICK_EVERY);

// The job: where it is and how to come back to it is all that a reload needs

let followed;

function follow(what) {
  $("job").disabled = true;
  $("job-state").textContent = "waiting for news of the job";
  followed = desk.follow(what, {
    onevent: ({ terminal }) => terminal || localStorage.setItem(JOB_KEY, JSON.stringify({ ...followed.toJSON(), offset: START })),
    onstate: (state) => {
      $("job-state").textContent = { queued: "queued", started: "running", retrying: "starting over elsewhere" }[state] ?? state;
      if (state === "started") plot.started("job");
    },
    onprogress: ({ done, total }) => {
      plot.started("job");
      $("job-state").textContent = "running";
      $("job-bar").value = done / total;
      $("job-count").textContent = `${whole.format(done)} of ${whole.format(total)}`;
    },
    onresult: (result) => {
      $("job-bar").value = 1;
      $("job-count").textContent = "";
      endJob(`done: ${whole.format(result.updated)} orders repriced`);
    },
    onfailed: ({ type, message, reason }) => endJob([type, message ?? reason].filter(Boolean).join(": ")),
  });
}

function endJob(text) {
  plot.ended("job");
  localStorage.removeItem(JOB_KEY);
  $("job-state").textContent = text;
  $("job").disabled = false;
}

$("job").onclick = async () => {
  $("job").disabled = true;
  $("job-bar").value = 0;
  $("job-count").textContent = "";
  $("job-state").textContent = "asking";
  try {
    const { job } = await desk.call({ type: "reprice", percent: somePercent() });
    follow(job);
  } catch (error) {
    endJob(why(error));
  }
};

const kept = localStorage.getItem(JOB_KEY);
if (kept?.startsWith("{")) follow(JSON.parse(kept));

// The inline work, on a connection of its own: messages of one connection are handled in order, and the
// clicks of this page would wait behind it, as they should.

$("inline").onclick = async () => {
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  const timer = setInterval(() => ($("inline-count").textContent = seconds()), 100);
  const own = connect("/live");
  $("inline").disabled = true;
  $("inline-bar").className = "busy on";
  $("inline-state").textContent = "the handler is blocked";
  plot.started("inline");
  try {
    const answer = await own.call({ type: "inline", percent: somePercent() });
    $("inline-state").textContent = `done: ${whole.format(answer.updated)} orders repriced`;
    $("inline-bar").className = "busy done";
  } catch (error) {
    $("inline-state").textContent = why(error);
    $("inline-bar").className = "busy";
  }
  clearInterval(timer);
  own.close();
  plot.ended("inline");
  $("inline-count").textContent = seconds();
  $("inline").disabled = false;
};

function somePercent() {
  return Math.round(Math.random() * 30) - 10;
}

// The others, and the server

function showReport({ users, rate, p50, p99, processes }) {
  plot.users(p50, p99);
  $("user-count").textContent = users;
  $("p50-now").textContent = ms(p50);
  $("p99-now").textContent = ms(p99);
  $("connection").textContent = `${users} users · ${rate} clicks/s`;
  if (processes) $("processes").replaceChildren(...processes.map(tile));
  $("plot").ariaLabel = plot.describe();
}

function tile({ name, kind, pid, does, working }) {
  const item = document.createElement("li");
  item.className = `${kind}${working ? " working" : ""}`;
  const part = (tag, text) => item.appendChild(document.createElement(tag)).append(text);
  part("b", name);
  part("div", does);
  part("code", `pid ${pid}`);
  return item;
}
