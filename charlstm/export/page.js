"use strict";
// The page: an opening text, its continuation, and the alternatives at each character.

const PER_FRAME_MS = 12, PER_FRAME = 5; // time and characters, slow enough to read along
const PAUSE_AFTER = 2000; // characters
const STATE_EVERY = 32; // characters between saved states
const CHOICES = 5;
const BITS_PER_SHADE = 2, SHADES = 5;

const $ = (id) => document.getElementById(id);
const model = new Model(JSON.parse($("model").textContent));
const list = $("text"), menu = $("menu");
const place = { current: null };
let tokens = []; // what was written: { id, character, bits, choices, element }
let states = []; // before every 32nd token: { state, logits }
let now = null; // after the last token
let random = null, running = false, written = 0, pending = 0;

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u; // controls and the like, which would show nothing or turn the line
const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

function showName(character) {
  const name = { "\n": "newline", " ": "space", "\t": "tab", "": "end of document" }[character];
  return name ?? (HIDDEN.test(character) ? codePoint(character) : character);
}

const percent = (p) => (p < 0.001 ? "< 0.1%" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)}%`);

/** Write a character at the end: typed, chosen or drawn. */
function append(id, kind) {
  if (tokens.length % STATE_EVERY === 0) states.push(now);
  const p = softmax(now.logits);
  const order = Array.from(p.keys()).filter((each) => p[each] > 0).sort((a, b) => p[b] - p[a] || a - b).slice(0, CHOICES);
  const choices = order.map((each) => ({ id: each, character: model.characters[each] ?? "", p: p[each] }));
  const character = model.characters[id] ?? ""; // the boundary ends a document
  const bits = -Math.log2(p[id]);
  const element = document.createElement("span");
  const hidden = HIDDEN.test(character) && !"\n\t\u200d".includes(character);
  element.textContent = hidden ? codePoint(character) : character || "\n\n";
  element.className = `${kind} s${Math.min(Math.floor(bits / BITS_PER_SHADE), SHADES)}`;
  tokens.push({ id, character, bits, choices, element });
  list.append(element);
  const state = model.step(id, now.state);
  now = { state, logits: model.logits(state) };
}

/** Go back to the text before a token. */
function rewind(n) {
  const from = Math.floor(n / STATE_EVERY);
  tokens.splice(n).forEach(({ element }) => element.remove());
  if (from >= states.length) return; // at the end
  now = states[from];
  states.length = from + 1;
  for (const { id } of tokens.slice(from * STATE_EVERY)) {
    const state = model.step(id, now.state);
    now = { state, logits: model.logits(state) };
  }
  if (n % STATE_EVERY === 0) states.pop(); // `append` adds it again
}

function restart() {
  hideMenu();
  tokens = [];
  states = [];
  list.replaceChildren();
  now = model.begin();
  random = new Random(Number($("seed").value) || 0);
  showTemperature();
  const skipped = new Set();
  for (const character of model.clean($("beginning").value)) {
    const id = model.idOf(character);
    if (id === undefined) skipped.add(character);
    else append(id, "typed");
  }
  const names = [...skipped].map((each) => `“${showName(each)}”`).join(", ");
  $("note").textContent = skipped.size ? `Not in the model’s vocabulary, skipped: ${names}` : "";
  written = 0;
  run();
}

function frame() {
  if (!running) return;
  const temperature = Number($("temperature").value), end = performance.now() + PER_FRAME_MS;
  const atBottom = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
  for (let n = 0; n < PER_FRAME && (n === 0 || performance.now() < end); n++) {
    append(draw(softmax(now.logits, temperature), random), "drawn");
    if (++written % PAUSE_AFTER === 0) {
      pause();
      break;
    }
  }
  if (atBottom) list.scrollTop = list.scrollHeight;
  if (running) pending = requestAnimationFrame(frame);
}

function run() {
  hideMenu();
  running = true;
  $("pause").textContent = "Pause";
  $("status").textContent = "Generating";
  cancelAnimationFrame(pending); // of a text that was being written
  pending = requestAnimationFrame(frame);
}

function pause() {
  running = false;
  $("pause").textContent = "Continue";
  $("status").textContent = `Paused after ${tokens.length.toLocaleString("en")} characters`;
}

/** Replace a character with another, and continue from it. */
function take(n, id) {
  rewind(n);
  append(id, "chosen");
  run();
  list.focus({ preventScroll: true });
}

// ---- alternatives

function describe({ character, bits }) {
  const surprise = bits < Infinity ? `surprise ${bits.toFixed(1)} bits` : "not in the vocabulary";
  return `“${showName(character)}”: ${surprise}`;
}

function showMenu(n) {
  const token = tokens[n];
  if (!token) return;
  token.element.scrollIntoView({ block: "nearest" });
  const title = document.createElement("p");
  title.textContent = describe(token);
  const buttons = token.choices.map(({ id, character, p }, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(Object.assign(document.createElement("kbd"), { textContent: k + 1 }));
    button.append(` ${showName(character)} `);
    button.append(Object.assign(document.createElement("small"), { textContent: percent(p) }));
    if (id === token.id) button.className = "same";
    button.addEventListener("click", () => take(n, id));
    return button;
  });
  menu.replaceChildren(title, ...buttons);
  menu.hidden = false;
  const box = token.element.getClientRects()[0] ?? token.element.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - menu.offsetWidth - 8);
  const below = box.bottom + menu.offsetHeight < innerHeight;
  menu.style.left = `${Math.max(left, 8) + scrollX}px`;
  menu.style.top = `${(below ? box.bottom : box.top - menu.offsetHeight) + scrollY}px`;
  mark(n);
}

function showTemperature() {
  $("shown").textContent = Number($("temperature").value).toFixed(2);
}

function hideMenu() {
  if (menu.contains(document.activeElement)) list.focus({ preventScroll: true });
  menu.hidden = true;
  mark(null);
}

function mark(n) {
  tokens[place.current]?.element.classList.remove("current");
  place.current = n;
  tokens[n]?.element.classList.add("current");
}

/** The number of the token under the pointer; -1 if there is none. */
function tokenAt(event) {
  return tokens.findIndex(({ element }) => element === event.target);
}

list.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "mouse" || running) return;
  const n = tokenAt(event);
  if (n >= 0) showMenu(n);
});
list.addEventListener("click", (event) => {
  const n = tokenAt(event);
  if (n < 0) return hideMenu();
  if (running) pause();
  showMenu(n);
});
list.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const last = tokens.length - 1, current = place.current ?? tokens.length;
  const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: last }[event.key];
  if (to !== undefined && last >= 0) {
    if (running) pause();
    showMenu(Math.max(0, Math.min(to, last)));
    const { choices } = tokens[place.current];
    const likely = choices.map(({ character, p }) => `${showName(character)} ${percent(p)}`).join(", ");
    $("status").textContent = `${describe(tokens[place.current])}. Most likely: ${likely}`;
  } else if (event.key === "Escape") hideMenu();
  else if (event.key === " " || event.key === "Enter") running ? pause() : run();
  else if (place.current !== null && /^[1-5]$/.test(event.key)) {
    const choice = tokens[place.current].choices[Number(event.key) - 1];
    if (choice) take(place.current, choice.id);
  } else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && hideMenu());
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target) && !list.contains(event.target)) hideMenu();
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  restart();
});
$("pause").addEventListener("click", () => (running ? pause() : run()));
$("temperature").addEventListener("input", showTemperature);
list.addEventListener("scroll", () => menu.hidden || document.activeElement === list || hideMenu());
restart();
