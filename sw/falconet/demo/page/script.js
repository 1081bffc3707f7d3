"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const OPTIONS = ["score", "iou", "sigma", "maximum"];
const COLOURS = 8; // the layers that cost most have one each
const MANY = 12; // boxes: their labels are scores alone
const STEPS = { decode: "read the picture", prepare: "scale, place", machine: "", read: "read results" };

let state = null; // what /state says
let last = null; // the picture that was looked at: { name, blob }
let camera = null; // whatever takes pictures now: { button, take, stop }
let working = null, waiting = null; // the looks under way (a promise), the picture after them

function make(tag, attributes = {}, text = null) {
  const element = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) element.setAttribute(k, v);
  if (text !== null) element.textContent = text;
  return element;
}

function draw(tag, attributes, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) element.setAttribute(k, v);
  if (text !== null) element.textContent = text;
  return element;
}

const whole = (n) => Math.round(n).toLocaleString("en");
const ms = (t) => (t < 100 ? t.toFixed(2) : whole(t)) + " ms";
const percent = (part) => (100 * part).toFixed(1) + " %";

// ------------------------------------------------------------------------------ what is said

function say(text) { $("says").textContent = text; }

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

/** Counts the seconds until the returned function is called. */
function clock() {
  const began = performance.now();
  const tick = () => {
    const seconds = (performance.now() - began) / 1000;
    if (!camera || seconds > 1) say(`working, ${seconds.toFixed(1)} s`);
  };
  const timer = setInterval(tick, 100);
  if (!camera) {
    $("spinner").hidden = $("curtain").hidden = false;
    tick();
  }
  return () => {
    clearInterval(timer);
    $("spinner").hidden = $("curtain").hidden = true;
    return performance.now() - began;
  };
}

// ------------------------------------------------------------------------------ the picture

function showStage(full) {
  $("frame").hidden = !full;
  $("hint").hidden = full;
  $("stage").classList.toggle("empty", !full);
}

/** Draws what a browser can decode (a Blob) or has decoded. */
async function show(picture) {
  const image = picture instanceof Blob ? await createImageBitmap(picture) : picture;
  const canvas = $("photograph"), side = Math.max(image.width, image.height);
  const share = Math.min(1600, Math.max(640, side)) / side;
  canvas.width = Math.max(1, Math.round(image.width * share));
  canvas.height = Math.max(1, Math.round(image.height * share));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  if (image.close) image.close();
  showStage(true);
  $("overlay").replaceChildren();
}

function clearPicture() {
  showStage(false);
  for (const id of ["found", "speed", "where"]) $(id).hidden = true;
}

function drawBoxes(seen) {
  const x = (v) => `${(100 * v) / seen.width}%`, y = (v) => `${(100 * v) / seen.height}%`;
  const groups = seen.boxes.map((b) => {
    const group = draw("g", {});
    const place = { x: x(b.x), y: y(b.y), width: x(Math.max(0, b.w)), height: y(Math.max(0, b.h)) };
    group.append(draw("rect", { class: "shade", ...place }), draw("rect", place));
    for (const [px, py] of b.landmarks) group.append(draw("circle", { cx: x(px), cy: y(py), r: 3 }));
    const right = b.x + b.w / 2 > seen.width * 0.7, low = b.y > seen.height * 0.06;
    group.append(draw("text", {
      x: x(right ? b.x + b.w : b.x), y: y(Math.max(0, b.y)), dy: low ? -5 : 16,
      dx: right ? -3 : 3, "text-anchor": right ? "end" : "start",
    }, seen.boxes.length > MANY ? b.score.toFixed(2) : `${b.class_name} ${b.score.toFixed(2)}`));
    return group;
  });
  $("overlay").replaceChildren(...groups.slice().reverse()); // the best lies on top
  return groups;
}

// ------------------------------------------------------------------------------ tables

/** Fills a table; columns are [title, cell(row)], the first is text, the others are numbers. */
function fill(table, columns, rows, light) {
  table.hidden = !rows.length;
  const kind = (i) => (i ? {} : { class: "name" });
  const head = make("tr");
  head.append(...columns.map(([title], i) => make("th", { scope: "col", ...kind(i) }, title)));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows.map((row, n) => {
    const line = make("tr");
    line.append(...columns.map(([, cell], i) => {
      const content = cell(row), td = make("td", kind(i));
      td.append(...[content].flat());
      return td;
    }));
    if (light) {
      line.addEventListener("pointerenter", () => light(n, true));
      line.addEventListener("pointerleave", () => light(n, false));
    }
    return line;
  }));
}

function showBoxes(seen) {
  const groups = drawBoxes(seen), n = seen.boxes.length;
  const of = seen.candidates === undefined ? "" : ` of ${whole(seen.candidates)} candidates`;
  $("count").textContent = n ? `${n} found${of}` : "Nothing found";
  let advice = n ? "" : "Lower the least score, or take another picture.";
  if (seen.candidates > seen.room)
    advice = `Only the ${whole(seen.room)} best candidates were looked at; raise the least score.`;
  $("advice").textContent = advice;
  $("advice").hidden = !advice;
  const number = (key) => (b) => b[key].toFixed(1);
  fill($("objects"), [
    ["class", (b) => b.class_name], ["score", (b) => b.score.toFixed(4)], ["x", number("x")],
    ["y", number("y")], ["width", number("w")], ["height", number("h")],
  ], seen.boxes, (i, on) => groups[i].classList.toggle("lit", on));
}

function showClasses(seen) {
  $("overlay").replaceChildren();
  $("count").textContent = seen.classes[0].class_name;
  $("advice").hidden = true;
  fill($("objects"), [["class", (c) => c.class_name], ["probability", (c) => percent(c.score)]],
    seen.classes);
}

// ------------------------------------------------------------------------------ speed

function showSpeed(seen) {
  const figures = seen.cycles ? [
    ["frames per second", seen.fps.toFixed(1)],
    ["a frame", ms(seen.cycles / state.clock_mhz / 1000)],
    ["cycles", whole(seen.cycles)],
    ["of its MACs at work", percent(seen.utilisation)],
  ] : [];
  $("figures").replaceChildren(...figures.map(([what, value]) => {
    const figure = make("div");
    figure.append(make("dt", {}, what), make("dd", {}, value));
    return figure;
  }));
  $("note").textContent = state.note;
  const most = Math.max(...Object.values(seen.times));
  const lines = Object.entries(STEPS).flatMap(([step, words]) => {
    const bar = make("span", { class: "bar" }), filled = make("i");
    filled.style.width = `${(100 * seen.times[step]) / most}%`;
    bar.append(filled);
    return [make("span", {}, words || state.device), bar,
      make("span", { class: "ms", id: `time-${step}` }, ms(seen.times[step]))];
  });
  $("times").replaceChildren(...lines);
}

function axis(cycles) {
  const steps = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(cycles)) / 10);
  const most = document.body.clientWidth > 700 ? 6 : 3;
  const step = steps.find((s) => cycles / s < most) || steps[3];
  const svg = draw("svg", { class: "axis" });
  for (let at = 0; at <= cycles; at += step) {
    const x = `${(100 * at) / cycles}%`;
    const anchor = at === 0 ? "start" : at > 0.94 * cycles ? "end" : "middle";
    const text = step >= 1000 && at ? `${whole(at / 1000)}k` : whole(at);
    svg.append(draw("line", { x1: x, x2: x, y1: 0, y2: 5 }),
      draw("text", { x, y: 19, "text-anchor": anchor }, text));
  }
  return svg;
}

function showTimeline(seen) {
  const run = seen.timeline;
  $("where").hidden = !seen.cycles;
  if (!seen.cycles) return;
  const layers = run ? run.layers : [];
  const order = layers.map((_, i) => i).filter((i) => layers[i].cycles)
    .sort((a, b) => layers[b].cycles - layers[a].cycles);
  const colour = new Map(order.slice(0, COLOURS).map((layer, i) => [layer, `c${i}`]));
  const bars = new Map(); // of each layer
  const rows = Object.entries(seen.busy).flatMap(([name, busy], engine) => {
    const label = make("span", { class: "engine" }, `${name} `);
    label.append(make("small", {}, percent(busy / seen.cycles)));
    const row = draw("svg", { class: "row", role: "img", "aria-label": `${name} over the cycles` });
    for (const [e, layer, start, end] of run ? run.bars : []) {
      if (run.engines[e] !== name) continue;
      const of = layers[layer];
      const words = `${of ? `${of.name} (${of.op})` : "no layer"}: ${name}, cycles ` +
        `${whole(start)} to ${whole(end)}`;
      const bar = draw("rect", {
        x: `${(100 * start) / seen.cycles}%`, y: 2, height: 22,
        width: `${(100 * Math.max(1, end - start)) / seen.cycles}%`, class: colour.get(layer) || "",
      });
      bar.append(draw("title", {}, words));
      bar.addEventListener("pointerenter", () => { $("pointed").textContent = words; });
      bars.set(layer, [...(bars.get(layer) || []), bar]);
      row.append(bar);
    }
    return [label, row];
  });
  const unit = make("span", { class: "engine" });
  unit.append(make("small", {}, "cycles"));
  $("timeline").replaceChildren(...rows, unit, axis(seen.cycles));
  $("pointed").textContent = run ? "Point at a bar for its layer." :
    "The timeline comes with single pictures; the camera goes without it.";
  fill($("layers"), [
    ["layer", (i) => [make("span", { class: `swatch ${colour.get(i) || "rest"}` }), layers[i].name]],
    ["engine", (i) => layers[i].engine], ["cycles", (i) => whole(layers[i].cycles)],
    ["share", (i) => percent(layers[i].cycles / seen.cycles)],
    ["of peak", (i) => (layers[i].utilisation === null ? "" : percent(layers[i].utilisation))],
    ["DDR bytes", (i) => whole(layers[i].bytes)], ["bound by", (i) => layers[i].bound],
  ], order, (n, on) => (bars.get(order[n]) || []).forEach((b) => b.classList.toggle("lit", on)));
}

// ------------------------------------------------------------------------------ looking

function asked(more) {
  const query = new URLSearchParams(more);
  if (state.options)
    for (const k of OPTIONS) {
      const changed = $(k).value !== "" && Number($(k).value) !== Number($(k).dataset.own);
      if (changed) query.set(k, $(k).value);
    }
  return query;
}

async function post(path, query, body) {
  let response, reply;
  try {
    response = await fetch(`${path}?${query}`, { method: "POST", body });
    reply = await response.json();
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (!response.ok) throw new Error(reply.error);
  return reply;
}

const decoded = (base64) =>
  new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/jpeg" });

/** Sends a picture (or has the server take one: no blob), and shows all that comes back. */
async function look({ name, blob, trace = true }) {
  const stop = clock();
  try {
    const known = blob && await show(blob).then(() => true, () => false);
    if (blob && blob.size > state.limit)
      throw new Error(`${name}: larger than ${state.limit >> 20} MB; take a smaller picture`);
    const query = asked({ name, ...(trace && { trace: 1 }), ...(!known && { picture: 1 }) });
    const seen = await post(blob ? "/see" : "/camera", query, blob);
    if (seen.picture) {
      const picture = decoded(seen.picture);
      if (!blob) last = { name, blob: picture };
      await show(picture);
    }
    complain("");
    (seen.boxes ? showBoxes : showClasses)(seen);
    showSpeed(seen);
    showTimeline(seen);
    $("found").hidden = $("speed").hidden = false;
    const took = stop();
    say(camera ? `${name}: ${(1000 / took).toFixed(1)} pictures a second through this page`
      : `${name}, ${seen.width} x ${seen.height}: ${(took / 1000).toFixed(1)} s in all`);
  } catch (error) {
    stop();
    say("");
    stopCamera();
    clearPicture();
    complain(error.message);
  }
}

async function drain() {
  while (waiting) {
    const next = waiting;
    waiting = null;
    last = next.blob ? next : last;
    await look(next);
  }
  working = null;
}

/** One picture at a time, and of those that come meanwhile the last one; until all is done. */
function request(picture) {
  waiting = picture;
  working = working || drain();
  return working;
}

const open = (file) => { stopCamera(); request({ name: file.name, blob: file }); };

// ------------------------------------------------------------------------------ cameras

async function stopCamera(lookAgain = false) {
  if (!camera) return;
  const { button, stop } = camera;
  camera = null;
  button.setAttribute("aria-pressed", "false");
  stop();
  if (lookAgain && last) request({ ...last, trace: true }); // the timeline of what is shown
}

async function startCamera(button, begin) {
  if (camera && camera.button === button) return stopCamera(true);
  stopCamera();
  complain("");
  let mine;
  try {
    mine = { button, ...await begin() };
  } catch (error) {
    return complain(`camera: ${error.message}`);
  }
  camera = mine;
  button.setAttribute("aria-pressed", "true");
  while (camera === mine) {
    const blob = await mine.take();
    if (camera === mine) // it may have been stopped meanwhile
      await request({ name: "camera", blob, trace: false });
  }
}

async function browserCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
  const video = make("video", { muted: "", playsinline: "" });
  video.srcObject = stream;
  await video.play();
  const frame = make("canvas");
  return {
    stop: () => stream.getTracks().forEach((track) => track.stop()),
    take: () => {
      frame.width = video.videoWidth;
      frame.height = video.videoHeight;
      frame.getContext("2d").drawImage(video, 0, 0);
      return new Promise((done) => frame.toBlob(done, "image/jpeg", 0.9));
    },
  };
}

// ------------------------------------------------------------------------------ the page

function setOptions() {
  for (const k of OPTIONS) {
    $(k).value = state.options[k];
    $(k).dataset.own = $(k).value; // as the element rounds it
  }
  if (state.options.limit) $("maximum").max = state.options.limit;
  showOptions();
}

function showOptions() {
  for (const output of document.querySelectorAll("output"))
    output.textContent = Number($(output.htmlFor).value).toFixed(2);
}

function listen() {
  $("file").addEventListener("change", (event) => {
    if (event.target.files[0]) open(event.target.files[0]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("stage").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
    });
  $("options").addEventListener("input", showOptions);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("options").addEventListener("change", () => {
    if (last && !camera && $("options").reportValidity()) request({ ...last, trace: true });
  });
  $("defaults").addEventListener("click", () => {
    setOptions();
    if (last && !camera) request({ ...last, trace: true });
  });
  $("browser-camera").addEventListener("click", (e) => startCamera(e.target, browserCamera));
  $("own-camera").addEventListener("click", (e) => startCamera(
    e.target, async () => ({ take: async () => null, stop: () => {} })));
}

function showSamples() {
  $("samples").replaceChildren(...state.samples.map((name) => {
    const item = make("li"), button = make("button", { type: "button" });
    const path = `/samples/${encodeURIComponent(name)}`;
    button.append(make("img", { src: path, alt: "" }), make("span", {}, name.replaceAll("_", " ")));
    button.addEventListener("click", async () => {
      const reply = await fetch(path).catch(() => null);
      if (!reply || !reply.ok) return complain(`${name}: the server does not give it`);
      stopCamera();
      request({ name, blob: await reply.blob() });
    });
    item.append(button);
    return item;
  }));
}

async function begin() {
  try {
    state = await (await fetch("/state")).json();
  } catch {
    return complain("the server does not answer; start it again, and load this page again");
  }
  $("about").textContent = `${state.model}, ${(state.macs / 1e6).toFixed(1)} million MACs, for ` +
    `${state.preset}, ${state.macs_per_cycle} MACs a cycle at ${state.clock_mhz} MHz; ` +
    `on the ${state.device}`;
  document.title = `Falconet: ${state.model}`;
  if (state.options) {
    for (const e of document.querySelectorAll(".gaussian"))
      e.hidden = state.options.mode !== "soft_gaussian";
    setOptions();
    $("options").hidden = false;
  }
  if (!navigator.mediaDevices) {
    $("browser-camera").disabled = true;
    $("camera-note").hidden = false;
    $("camera-note").textContent = "A browser lends its camera to https pages and to this " +
      "computer's own only" + (state.camera === null
      ? "; the server's own camera takes part if it is started with --camera 0." : ".");
  }
  $("own-camera").hidden = state.camera === null;
  $("own-camera").textContent = `Camera ${state.camera} of the server`;
  showSamples();
  listen();
  say("");
  document.body.dataset.ready = "yes";
}

begin();
