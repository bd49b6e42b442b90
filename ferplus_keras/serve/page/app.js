"use strict";

// Everything the page knows lives here and is gone when it is closed.
const $ = (id) => document.getElementById(id);
const state = { choices: null, items: [], current: null, camera: null, token: sessionStorage.token || "" };
const AT_ONCE = 3; // requests
const FRAME_SIDE = 640; // longer side of a camera frame, pixels
const FRAME_EVERY = 120; // milliseconds

// ---- The interface -----------------------------------------------------------------------------

class Problem extends Error {}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch {
    throw new Problem("The server does not answer; is it still running?");
  }
  if (reply.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  if (!reply.ok) {
    const { detail } = await reply.json().catch(() => ({}));
    throw new Problem(detail || `The server answered with status ${reply.status}.`);
  }
  return reply.json();
}

let asking = null;
function askForToken() {
  asking ??= new Promise((resolve) => {
    $("token").addEventListener("close", () => {
      state.token = sessionStorage.token = $("token-value").value;
      asking = null;
      resolve();
    }, { once: true });
    $("token-why").textContent = state.token ? "The server does not know this token." : "This server asks for a token.";
    $("token").showModal();
  });
  return asking;
}

function settings(more = {}) {
  const asked = { model: $("model").value, tta: $("tta").value, crops: true, ...more };
  return new URLSearchParams(asked).toString();
}

const predictQuery = () => settings({ detector: $("detector").value });

const send = (path, type, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": type }, body }).then((answer) => answer.pictures[0]);

const predict = (blob, query) => send(`v1/predict?${query}`, "application/octet-stream", blob);

function explain(crop, method, className) {
  const bytes = Uint8Array.from(atob(crop.split(",")[1]), (letter) => letter.charCodeAt(0));
  const query = settings({ explain: method, explain_class: className, crops: false });
  return send(`v1/predict-faces?${query}`, "image/png", bytes).then((picture) => picture.faces[0].explanation);
}

// ---- Pictures ----------------------------------------------------------------------------------

function add(files) {
  files = [...files];
  if (!files.length) return;
  stopCamera();
  const items = files.map((file) => ({
    file,
    name: file.name || "pasted picture",
    url: URL.createObjectURL(file),
  }));
  state.items.push(...items);
  show(items[0]);
  work();
}

let running = 0;
async function work() {
  await ready;
  while (running < AT_ONCE) {
    const item = state.items.find((each) => !each.asked);
    if (!item) return;
    const query = (item.asked = predictQuery());
    running += 1;
    predict(item.file, query)
      .then((answer) => ({ answer }), (error) => ({ error: error.message }))
      .then((outcome) => {
        running -= 1;
        if (item.asked === query) Object.assign(item, outcome); // else the settings have changed
        if (item === state.current) show(item);
        else list([item]);
        work();
      });
  }
}

function again() {
  for (const item of state.items) Object.assign(item, { asked: null, answer: null, error: null });
  if (state.camera) startCamera();
  else if (state.current) show(state.current);
  work();
}

function clear() {
  stopCamera();
  state.items.forEach((item) => URL.revokeObjectURL(item.url));
  state.items = [];
  $("list").replaceChildren();
  show(null);
  $("picture").removeAttribute("src"); // what it showed must not stay behind, hidden
  boxes(null);
  cards([], null);
}

// ---- What is shown -----------------------------------------------------------------------------

function show(item) {
  state.current = item;
  const camera = Boolean(state.camera);
  $("start").hidden = Boolean(item) || camera;
  $("work").hidden = !item && !camera;
  $("picture").hidden = camera;
  $("video").hidden = !camera;
  for (const [id, on] of Object.entries({
    "camera-button": !camera, "snap-button": camera, "stop-button": camera,
    "clear-button": !camera,
  })) $(id).hidden = !on;
  $("busy").hidden = !item || item.answer || item.error;
  list();
  if (!item) return;
  if ($("picture").src !== item.url) {
    $("figure").classList.remove("unshown");
    $("picture").src = item.url;
  }
  const faces = item.answer?.faces ?? [];
  $("picture").alt = item.answer ? `${item.name}: ${summary(faces)}` : item.name;
  title(item.name, item.answer ? summary(faces) : item.error ? "cannot be used" : "");
  boxes(item.answer, faces);
  cards(faces, item.error || (item.answer ? "" : null));
}

const summary = (faces) => (faces.length ? `${faces.length} ${faces.length === 1 ? "face" : "faces"}` : "no face found");
const percent = (share) => (share < 0.0005 ? "<0.1%" : `${Number((100 * share).toFixed(share < 0.0995 || share > 0.995 ? 1 : 0))}%`);

function make(tag, text = "", className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

function title(name, note) {
  if ($("title").textContent !== `${name} ${note}`) $("title").replaceChildren(`${name} `, make("small", note)); // else read aloud again
}

function draw(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

function boxes(answer, faces) {
  const svg = $("boxes");
  const on = svg.querySelector(".on")?.dataset.number; // stays so from one camera frame to the next
  const focused = svg.contains(document.activeElement) && document.activeElement.dataset.number;
  svg.replaceChildren();
  if (!answer) return;
  svg.setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
  const shown = svg.getBoundingClientRect().width || 600;
  const unit = answer.width / shown; // one pixel of the screen
  for (const face of faces) {
    const [x, y, width, height] = face.box;
    const label = `Face ${face.number}: ${face.label}, ${percent(face.confidence)}`;
    const group = draw("g", { tabindex: 0, role: "button", "aria-label": label, "data-number": face.number }, svg);
    const place = { x, y, width, height, rx: 6 * unit };
    for (const kind of ["hit", "edge", "line"]) draw("rect", { class: kind, ...place }, group);
    const tag = draw("g", { class: "tag" }, group);
    const side = 26 * unit;
    const left = Math.min(Math.max(x, 0), answer.width - side);
    const top = Math.max(y - side - 4 * unit, 0);
    draw("rect", { x: left, y: top, width: side, height: side, rx: 7 * unit }, tag);
    const text = draw("text", { x: left + side / 2, y: top + side / 2, "font-size": 15 * unit }, tag);
    text.textContent = face.number;
    group.classList.toggle("on", String(face.number) === on);
    if (String(face.number) === focused) group.focus();
  }
}

function bars(target, face, names) {
  target.replaceChildren(
    ...names.map((name) => {
      const row = make("li", "", name === face.label ? "best" : "");
      const [label, bar] = [make("span", name), make("i")];
      label.title = name;
      bar.style.setProperty("--share", face.probabilities[name]);
      row.append(label, bar, make("b", percent(face.probabilities[name])));
      return row;
    }),
  );
}

function cards(faces, message) {
  const cards = faces.map(card);
  if (!cards.length && message !== null) {
    const note = make("div", "", message ? "card empty fault" : "card empty");
    note.append(
      make("strong", message ? "This picture cannot be used" : "No face found"),
      message || "Try another face detector in the settings; “whole” takes the picture as one face.",
    );
    cards.push(note);
  }
  $("cards").replaceChildren(...cards);
}

function card(face) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const ranked = fill(card, face);
  const model = state.choices.models.find((each) => each.name === $("model").value);
  part(".class").append(...ranked.map((name) => new Option(name)));
  part(".method").append(...model.explanations.map((name) => new Option(name.replaceAll("_", " "), name)));
  part(".why").hidden = Boolean(state.camera) || !model.explanations.length;
  const look = () => part(".why").open && why(face, part);
  part(".why").addEventListener("toggle", look);
  part(".asked").addEventListener("change", look);
  part(".blend input").addEventListener("input", (event) => (part(".map").style.opacity = event.target.value / 100));
  return card;
}

function fill(card, face) {
  const part = (selector) => card.querySelector(selector);
  card.dataset.number = face.number;
  card.setAttribute("aria-label", `Face ${face.number}: ${face.label}, ${percent(face.confidence)}`);
  part(".number").textContent = face.number;
  part(".crop").src = face.crop;
  part("h2").textContent = face.label;
  part(".who .quiet").textContent = `${percent(face.confidence)} probable`;
  const ranked = Object.keys(face.probabilities).sort((a, b) => face.probabilities[b] - face.probabilities[a]);
  bars(part(":scope > .bars"), face, ranked.slice(0, 3));
  bars(part(".more .bars"), face, Object.keys(face.probabilities));
  part(".more").hidden = ranked.length <= 3;
  return ranked;
}

async function why(face, part) {
  const [className, method] = [part(".class").value, part(".method").value];
  part(".face").src = face.crop;
  part(".layers").classList.add("waiting");
  try {
    const found = await explain(face.crop, method, className);
    if (part(".class").value !== className || part(".method").value !== method) return;
    part(".map").src = found.picture;
    part(".map").alt = `What speaks for ${className}`;
    part(".legend").textContent = found.signed
      ? `Red speaks for ${className}, blue against it.`
      : `The redder, the more a pixel matters for ${className}.`;
  } catch (error) {
    part(".legend").textContent = error.message;
  } finally {
    part(".layers").classList.remove("waiting");
  }
}

function list(changed = state.items) {
  $("batch").hidden = state.items.length < 2 || Boolean(state.camera);
  $("csv-button").hidden = !state.items.some((item) => item.answer?.faces.length);
  for (const item of changed) {
    item.row ??= $("list").appendChild(row(item));
    const [button, chips] = [item.row.querySelector("button"), item.row.querySelector(".chips")];
    button.setAttribute("aria-current", item === state.current);
    const faces = item.answer?.faces ?? [];
    chips.replaceChildren();
    if (item.error) chips.append(make("em", item.error, "fault"));
    else if (!item.answer) chips.append("waiting …");
    else if (!faces.length) chips.append("no face found");
    for (const face of faces.slice(0, 6)) chips.append(make("em", `${face.number} ${face.label} ${percent(face.confidence)}`));
    if (faces.length > 6) chips.append(` and ${faces.length - 6} more`);
  }
}

function row(item) {
  const row = make("li");
  const button = make("button");
  button.addEventListener("click", () => {
    show(item);
    $("work").scrollIntoView({ block: "start" });
  });
  const image = Object.assign(make("img"), { loading: "lazy", src: item.url, alt: "" });
  image.onerror = () => image.replaceWith(make("i"));
  button.append(image, make("span", item.name, "name"), make("span", "", "chips"));
  row.append(button);
  return row;
}

// ---- Boxes and cards belong together -----------------------------------------------------------

function mark(number) {
  for (const element of document.querySelectorAll("#boxes > g, .card[data-number]"))
    element.classList.toggle("on", element.dataset.number === number);
}

for (const [area, selector] of [["boxes", "g[data-number]"], ["cards", ".card[data-number]"]]) {
  const numberOf = (event) => event.target.closest(selector)?.dataset.number;
  $(area).addEventListener("pointerover", (event) => mark(numberOf(event)));
  $(area).addEventListener("pointerleave", () => mark());
  $(area).addEventListener("focusin", (event) => mark(numberOf(event)));
  $(area).addEventListener("focusout", () => mark());
}

function go(number) {
  const target = document.querySelector(`.card[data-number="${number}"]`);
  target?.scrollIntoView({ block: "nearest" });
  target?.focus({ preventScroll: true });
}

$("boxes").addEventListener("click", (event) => go(event.target.closest("g[data-number]")?.dataset.number));
$("boxes").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    go(event.target.dataset.number);
  }
});
$("cards").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.matches(".card")) return;
  event.preventDefault();
  go(Number(event.target.dataset.number) + step);
});

// ---- The camera --------------------------------------------------------------------------------

async function startCamera() {
  await ready;
  stopCamera();
  const asked = (state.asking = {});
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    const why = window.isSecureContext ? error.message : "browsers give it to HTTPS pages and this machine only";
    return notice(`The camera cannot be used: ${why}.`);
  }
  // Meanwhile it was started again, or a picture was added.
  if (state.asking !== asked) return media.getTracks().forEach((track) => track.stop());
  const address = new URL(`v1/stream?${predictQuery()}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const coded = btoa(state.token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(address, state.token ? ["ferplus", `bearer.${coded}`] : ["ferplus"]);
  const camera = (state.camera = { media, socket, canvas: document.createElement("canvas") });
  $("video").srcObject = media;
  await $("video").play();
  show(null);
  title("Camera", "connecting …");
  cards([], null);
  socket.onmessage = ({ data }) => state.camera === camera && seen(JSON.parse(data));
  socket.onclose = (event) => {
    if (state.camera !== camera) return;
    endCamera();
    notice(event.reason ? `The camera's connection was closed: ${event.reason}.` : "The server closed the camera's connection.");
  };
  camera.timer = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN && !socket.bufferedAmount)
      frame(camera, 0.85).then((blob) => blob && socket.readyState === WebSocket.OPEN && socket.send(blob));
  }, FRAME_EVERY);
}

function frame(camera, quality, side = FRAME_SIDE) {
  const { videoWidth: width, videoHeight: height } = $("video");
  if (!width) return Promise.resolve(null);
  const scale = Math.min(1, side / Math.max(width, height));
  camera.canvas.width = Math.round(width * scale);
  camera.canvas.height = Math.round(height * scale);
  camera.canvas.getContext("2d").drawImage($("video"), 0, 0, camera.canvas.width, camera.canvas.height);
  return new Promise((resolve) => camera.canvas.toBlob(resolve, "image/jpeg", quality));
}

function seen(answer) {
  if (answer.error) return title("Camera", answer.error);
  // Mirrored, as people know themselves; numbered from the left, so that numbers stay.
  const faces = answer.faces
    .map((face) => ({ ...face, box: [answer.width - face.box[0] - face.box[2], ...face.box.slice(1)] }))
    .sort((a, b) => a.box[0] - b.box[0])
    .map((face, index) => ({ ...face, number: index + 1 }));
  title("Camera", summary(faces));
  boxes(answer, faces);
  const shown = document.querySelectorAll(".card[data-number]");
  if (shown.length === faces.length) return faces.forEach((face, index) => fill(shown[index], face)); // stay open, can be clicked
  const marked = document.activeElement?.closest?.(".card")?.dataset.number;
  cards(faces, null);
  if (marked) go(marked);
}

function stopCamera() {
  state.asking = null;
  const camera = state.camera;
  if (!camera) return;
  state.camera = null;
  clearInterval(camera.timer);
  camera.socket.close();
  camera.media.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
}

function endCamera() {
  stopCamera();
  show(state.current ?? state.items.at(-1) ?? null);
}

async function snap() {
  const blob = await frame(state.camera, 0.95, 4096);
  if (blob) add([new File([blob], `camera ${new Date().toLocaleTimeString()}.jpg`, { type: "image/jpeg" })]);
}

// ---- The table ---------------------------------------------------------------------------------

function csv() {
  const answered = state.items.filter((item) => item.answer?.faces.length);
  const names = Object.keys(answered[0].answer.faces[0].probabilities);
  const text = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  // A spreadsheet would run what begins with these signs; predict.py writes such names likewise.
  const path = (name) => text(/^[=+\-@\t\r]/.test(name) ? `./${name}` : name);
  const rows = [["file", "face", "x", "y", "width", "height", "label", ...names.map(text)]];
  for (const { name, answer } of answered)
    for (const face of answer.faces) {
      const shares = names.map((each) => face.probabilities[each].toFixed(6));
      rows.push([path(name), face.number - 1, ...face.box.map((side) => side.toFixed(1)), text(face.label), ...shares]);
    }
  const blob = new Blob([rows.map((row) => row.join(",")).join("\r\n") + "\r\n"], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "faces.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

// ---- Ways in -----------------------------------------------------------------------------------

let fading;
function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => ($("notice").hidden = true), 8000);
}

async function example() {
  const blob = await (await fetch("example.jpg")).blob();
  add([new File([blob], "Example", { type: blob.type })]);
}

const DEEDS = { choose: () => $("files").click(), camera: startCamera, stop: endCamera, snap, csv, clear, example };
document.addEventListener("click", (event) => {
  const deed = event.target.closest("[data-do]")?.dataset.do;
  if (deed) DEEDS[deed]();
  if (!event.target.closest("#settings")) $("settings").open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") $("settings").open = false;
});
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));

let depth = 0;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => holdsFiles(event) && (depth += 1, ($("drop-here").hidden = false)));
addEventListener("dragleave", (event) => holdsFiles(event) && (depth -= 1) <= 0 && ($("drop-here").hidden = true));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop-here").hidden = true;
  add(event.dataTransfer?.files ?? []);
});
$("picture").addEventListener("error", () => $("figure").classList.add("unshown"));
new ResizeObserver(() => {
  const answer = state.current?.answer;
  if (answer && !state.camera) boxes(answer, answer.faces);
}).observe($("frame"));

async function begin() {
  state.choices = await ask("v1/models");
  const views = { none: "the face alone", flip: "the face and its mirror image", ten_crop: "ten crops of the face" };
  const offer = (id, names, titles = {}) => $(id).replaceChildren(...names.map((name) => new Option(titles[name] ?? name, name)));
  offer("model", state.choices.models.map((each) => each.name));
  offer("detector", state.choices.detectors);
  offer("tta", state.choices.tta, views);
  $("settings").addEventListener("change", again);
}
const ready = begin();
ready.catch((error) => notice(error.message));
