"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = data.checkpoints.length - 1;
const dead = [217, 217, 217];
const state = { now: last, timer: null, open: null, shared: false };
const sprites = [];

function pixels(stage, row, column) {
  const { cell } = data.stages[stage];
  return sprites[stage].getImageData(column * cell, row * cell, cell, cell);
}

function paint(canvas, stage, unit, checkpoint) {
  const of = data.stages[stage], peak = of.peak[checkpoint][unit];
  const image = pixels(stage, checkpoint, unit), d = image.data;
  const largest = Math.max(...of.peak.map((row) => row[unit] ?? 0), 1e-30);
  const gain = state.shared ? (peak ?? 0) / largest : 1;
  const strength = of.reliability.faded[checkpoint][unit] ? 0.3 : 1;
  for (let i = 0; i < d.length; i += 4) {
    const c = peak === null ? dead : null;
    const at3 = 3 * Math.round(127 + gain * Math.max(-127, Math.min(127, d[i] - 128)));
    for (let j = 0; j < 3; j++) d[i + j] = c ? c[j] : 255 - strength * (255 - data.colours[at3 + j]);
    d[i + 3] = 255;
  }
  if (canvas.width !== of.cell) canvas.width = canvas.height = of.cell;
  canvas.classList.toggle("coarse", of.cell < 40);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function show(checkpoint, announce) {
  state.now = Math.max(0, Math.min(last, checkpoint));
  const name = data.checkpoints[state.now];
  for (const id of ["slider", "panel-slider"]) {
    at(id).value = state.now;
    at(id).setAttribute("aria-valuetext", name);
  }
  at("now").textContent = at("panel-now").textContent = name;
  for (const button of document.querySelectorAll(".unit")) {
    const { stage, unit } = button.dataset;
    paint(button.firstElementChild, +stage, +unit, state.now);
    const { units, reliability } = data.stages[stage];
    const label = `${units[unit]} · ${reliability.short[state.now][unit]}`;
    button.lastElementChild.textContent = label;
    button.setAttribute("aria-label", `${data.stages[stage].name}, unit ${label}, ${reliability.words[state.now][unit]}`);
  }
  const epoch = +name.split(" ")[1];
  for (const chart of document.querySelectorAll("[data-scale]")) {
    const [start, step] = chart.dataset.scale.split(",").map(Number);
    const line = chart.querySelector(".cursor");
    line.setAttribute("x1", start + step * epoch);
    line.setAttribute("x2", start + step * epoch);
  }
  if (announce) at("live").textContent = `fields at ${name}`;
  if (state.open) fill();
}

function play(on) {
  clearInterval(state.timer);
  state.timer = on ? setInterval(() => {
    if (state.now === last) { play(false); return; }
    show(state.now + 1, false);
  }, 700) : null;
  at("play").setAttribute("aria-pressed", String(on));
  at("play").firstElementChild.textContent = on ? "❚❚" : "▶";
  at("play").querySelector(".word").textContent = on ? "pause" : "play";
  if (!on) at("live").textContent = `fields at ${data.checkpoints[state.now]}`;
}

function number(value, key) {
  if (value === null || value === undefined) return "–";
  if (key === "extent") return value.toFixed(1);
  if (key === "centre_surround") return value ? "yes" : "no";
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function element(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
}

function drawCurve(id, { x: xs, y: ys }, unit, label, logarithmic) {
  const svg = at(id), [left, right, top, bottom] = [34, 312, 8, 186];
  const of = logarithmic ? Math.log : (r) => r, back = logarithmic ? Math.exp : (r) => r;
  const [start, end] = [of(xs[0]), of(xs[xs.length - 1])];
  const x = (r) => left + ((of(r) - start) / (end - start || 1)) * (right - left);
  const y = (p) => (top + bottom) / 2 - p * (bottom - top) / 2;
  const line = (values, kind) => values.includes(null) ? null : element("polyline",
    { class: kind, points: values.map((p, i) => `${x(xs[i]).toFixed(1)},${y(p).toFixed(1)}`).join(" ") });
  const parts = [];
  for (const p of [-1, 0, 1]) {
    parts.push(element("line", { class: "rule", x1: left, x2: right, y1: y(p), y2: y(p) }));
    parts.push(element("text", { x: left - 6, y: y(p) + 4, "text-anchor": "end" }, p));
  }
  for (const share of [0, 0.5, 1]) {
    const r = back(start + share * (end - start));
    parts.push(element("text", { x: x(r), y: bottom + 15, "text-anchor": "middle" }, +r.toFixed(1)));
  }
  parts.push(element("text", { x: (left + right) / 2, y: bottom + 29, "text-anchor": "middle" }, label));
  parts.push(line(ys[0][unit], "then"), line(ys[state.now][unit], "is"));
  svg.replaceChildren(...parts.filter(Boolean));
  const now = ys[state.now][unit];
  svg.setAttribute("aria-label", now.includes(null) ? "no curve: the unit is dead"
    : `${label}: ${now[0].toFixed(2)} at the start, lowest ${Math.min(...now).toFixed(2)}, highest ${Math.max(...now).toFixed(2)}`);
}

function drawMeasures(of, unit) {
  const body = at("measures").tBodies[0];
  body.replaceChildren();
  for (const key of Object.keys(data.measures)) {
    if (!of.measures[key]) continue;
    const row = body.insertRow(), head = document.createElement("th");
    head.scope = "row";
    head.textContent = data.measures[key];
    row.append(head);
    for (const checkpoint of [0, state.now]) {
      const value = of.measures[key][checkpoint][unit], error = of.measures[`${key}_error`]?.[checkpoint][unit];
      row.insertCell().textContent = number(value, key) + (value === null || error === null || error === undefined ? "" : ` ± ${number(error, "error")}`);
    }
  }
}

function drawPatches(of, unit) {
  at("patches-part").hidden = !of.patchImage;
  if (!of.patchImage) return;
  const side = of.patchImage.height / of.units.length, canvas = at("patches");
  canvas.width = of.patchImage.width;
  canvas.height = side;
  canvas.getContext("2d").drawImage(of.patchImage, 0, unit * side, canvas.width, side, 0, 0, canvas.width, side);
  canvas.setAttribute("aria-label", `the ${Math.round(canvas.width / side)} image patches with the strongest responses of unit ${of.units[unit]}`);
}

function reliabilityWords(of, unit, checkpoint) {
  return of.reliability.words[checkpoint][unit];
}

function fill() {
  const { stage, unit } = state.open, of = data.stages[stage], name = `${of.name}, unit ${of.units[unit]}`;
  at("panel-h").textContent = name;
  paint(at("large"), stage, unit, state.now);
  paint(at("then"), stage, unit, 0);
  at("large").setAttribute("aria-label", `receptive field of ${name}, ${data.checkpoints[state.now]}`);
  at("then").setAttribute("aria-label", `receptive field of ${name}, ${data.checkpoints[0]}`);
  at("large-note").textContent = of.peak[state.now][unit] === null ? "Dead: no patch excites this unit."
    : `${of.side} × ${of.side} px of the image, ${state.shared ? "one scale through training" : "each field has its own scale"}. Now: ${reliabilityWords(of, unit, state.now)}. Before: ${reliabilityWords(of, unit, 0)}.`;
  drawCurve("profile", of.profile, unit, "distance from the centre, px", false);
  at("sizes").hidden = !of.size_tuning;
  for (const [drive, curve] of Object.entries(of.size_tuning ?? {})) {
    drawCurve(`by-${drive}`, curve, unit, `radius of ${drive} on grey, px`, true);
  }
  drawMeasures(of, unit);
  drawPatches(of, unit);
  at("previous").disabled = unit === 0;
  at("next").disabled = unit === of.units.length - 1;
}

function open(stage, unit) {
  play(false);
  state.open = { stage, unit };
  fill();
  if (!at("panel").open) at("panel").showModal();
}

const loaded = (address) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = () => reject(new Error("an image in this page is damaged"));
  image.src = address;
});

async function start() {
  for (const of of data.stages) {
    const image = await loaded(of.sprite), canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    sprites.push(context);
    if (of.patches) of.patchImage = await loaded(of.patches);
  }
  for (const id of ["slider", "panel-slider"]) at(id).addEventListener("input", (event) => {
    play(false);
    show(+event.target.value, false);
  });
  at("play").addEventListener("click", () => {
    if (state.timer) { play(false); return; }
    if (state.now === last) show(0, false);
    play(true);
  });
  at("scale").addEventListener("change", (event) => { state.shared = event.target.checked; show(state.now, false); });
  for (const button of document.querySelectorAll(".unit")) {
    button.addEventListener("click", () => open(+button.dataset.stage, +button.dataset.unit));
  }
  at("close").addEventListener("click", () => at("panel").close());
  at("panel").addEventListener("click", (event) => { if (event.target === at("panel")) at("panel").close(); });
  at("panel").addEventListener("close", () => {
    const { stage, unit } = state.open;
    state.open = null;
    document.querySelector(`.unit[data-stage="${stage}"][data-unit="${unit}"]`).focus();
  });
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    at(id).addEventListener("click", () => open(state.open.stage, state.open.unit + step));
  }
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.target.closest("input, select, textarea, .scroll, pre");
    if (!step || busy || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    play(false);
    show(state.now + step, true);
  });
  show(last, false);
  document.documentElement.dataset.ready = "yes";
}
start();
