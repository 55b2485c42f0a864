// The latency plot: a minute of clicks on a logarithmic scale, and beneath it when heavy work ran.

const SECONDS = 60;
const FRAMES_PER_SECOND = 10; // a minute moves slowly, and the server may share this machine
const LEFT = 52; // room for the scale
const RIGHT = 10;
const STRIP = 15; // height of one strip of heavy work
const STRIPS = [["job", "job"], ["inline", "inline"]]; // [kind, colour name]
const LEAST = 0.5; // ms; the scale's ends, of which the upper grows when a point is above it
const MOST = 1000;

export class Plot {
  #canvas;
  #context;
  #mine = []; // [time, ms]
  #others = []; // [time, p50, p99]
  #work = []; // {kind, from, to}; `to` is null while it runs

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    setInterval(() => requestAnimationFrame(() => this.#draw()), 1000 / FRAMES_PER_SECOND);
  }

  click(ms) { this.#mine.push([performance.now(), ms]); }

  users(p50, p99) { this.#others.push([performance.now(), p50, p99]); }

  started(kind) {
    if (!this.#work.some((work) => work.kind === kind && work.to === null))
      this.#work.push({ kind, from: performance.now(), to: null });
  }

  ended(kind) {
    for (const work of this.#work) if (work.kind === kind) work.to ??= performance.now();
  }

  /** The plot in words, for those who do not see it. */
  describe() {
    const recent = this.#mine.slice(-10).map(([, ms]) => ms);
    if (!recent.length) return "Latency of clicks: none yet";
    return `Your last ${recent.length} clicks took at most ${Math.max(...recent).toFixed(1)} ms`;
  }

  #draw() {
    const { canvas, context } = { canvas: this.#canvas, context: this.#context };
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);

    const now = performance.now();
    this.#forget(now);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const bottom = height - STRIPS.length * STRIP - 22;
    const top = Math.max(MOST, ...this.#mine.map((p) => p[1]), ...this.#others.map((p) => p[2]));
    const x = (time) => LEFT + (1 - (now - time) / (SECONDS * 1000)) * (width - LEFT - RIGHT);
    const y = (ms) => bottom - (Math.log(Math.max(ms, LEAST) / LEAST) / Math.log(top / LEAST)) * (bottom - 8);

    context.font = `12px ${style.fontFamily}`;
    context.textBaseline = "middle";
    this.#scale(width, bottom, y, x, now, top, colour);
    this.#strips(bottom, x, now, colour, width);
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT - RIGHT + 4, height);
    context.clip();
    this.#curves(x, y, colour);
    this.#dots(x, y, colour, width < 500 ? 1.5 : 2.2);
    context.restore();
  }

  #scale(width, bottom, y, x, now, top, colour) {
    const context = this.#context;
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.fillStyle = colour("faint");
    context.textAlign = "right";
    for (let ms = 1; ms <= top; ms *= 10) {
      const at = Math.round(y(ms)) + 0.5;
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(width - RIGHT, at);
      context.stroke();
      context.fillText(ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`, LEFT - 8, at);
    }
    context.textAlign = "center";
    const below = bottom + STRIPS.length * STRIP + 14;
    const step = width < 500 ? 20 : 10;
    for (let ago = 60 - step; ago > 0; ago -= step) context.fillText(`−${ago} s`, x(now - ago * 1000), below);
    context.textAlign = "right";
    context.fillText("now", width - RIGHT, below);
  }

  #strips(bottom, x, now, colour, width) {
    const context = this.#context;
    STRIPS.forEach(([kind, name], row) => {
      const at = bottom + 4 + row * STRIP;
      context.fillStyle = colour("sunk");
      context.fillRect(LEFT, at, width - LEFT - RIGHT, STRIP - 4);
      context.textAlign = "right";
      context.fillStyle = colour(name);
      context.fillText(name, LEFT - 8, at + (STRIP - 4) / 2);
      for (const work of this.#work.filter((one) => one.kind === kind)) {
        const from = Math.max(LEFT, x(work.from));
        context.fillRect(from, at, x(work.to ?? now) - from, STRIP - 4);
      }
    });
  }

  // The band between the two percentiles says at a glance how far the slow clicks are from the usual ones.
  #curves(x, y, colour) {
    const points = this.#others;
    if (!points.length) return;
    const context = this.#context;
    context.beginPath();
    for (const [time, p50] of points) context.lineTo(x(time), y(p50));
    for (const [time, , p99] of points.toReversed()) context.lineTo(x(time), y(p99));
    context.fillStyle = colour("users-fill");
    context.fill();
    this.#line(points.map(([time, p50]) => [x(time), y(p50)]), colour("users"), 2, []);
    this.#line(points.map(([time, , p99]) => [x(time), y(p99)]), colour("users"), 1.5, [2, 3]);
  }

  #line(points, colour, width, dash) {
    const context = this.#context;
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  #dots(x, y, colour, radius) {
    const context = this.#context;
    context.fillStyle = colour("you");
    for (const [time, ms] of this.#mine) {
      context.beginPath();
      context.arc(x(time), y(ms), radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  #forget(now) {
    const oldest = now - (SECONDS + 1) * 1000;
    const old = (points) => points.findIndex(([time]) => time >= oldest);
    for (const points of [this.#mine, this.#others]) points.splice(0, Math.max(0, old(points)));
    this.#work = this.#work.filter((work) => (work.to ?? now) >= oldest);
  }
}
