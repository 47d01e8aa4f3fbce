"use strict";
// The network: the same step as in docs/lstm.md. All arithmetic is +, -, * and / on doubles in a fixed order, with our
// own exp and random numbers, so that a seed gives the same text in every browser.

const POWERS = new Float64Array(2200); // 2^k at k + 1100
POWERS[1100] = 1;
for (let k = 1; k < 1100; k++) {
  POWERS[1100 + k] = POWERS[1099 + k] * 2;
  POWERS[1100 - k] = POWERS[1101 - k] / 2;
}

function exp(x) {
  if (x < -700) return 0;
  if (x > 700) x = 700;
  const k = Math.round(x * 1.4426950408889634); // x = k ln 2 + r
  const r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10; // ln 2 in two parts, the first exact times k
  let term = 1, sum = 1;
  for (let n = 1; n < 14; n++) sum += term *= r / n;
  return sum * POWERS[k + 1100];
}

const sigmoid = (x) => 1 / (1 + exp(-x));
const tanh = (x) => (Math.abs(x) < 1e-4 ? x : 1 - 2 / (exp(2 * x) + 1));

/** Uniform numbers in [0, 1): mulberry32 (Tommy Ettinger, 2017). */
class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  next() {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

function widenHalf(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * POWERS[1100 + exponent - 25] : fraction * POWERS[1100 - 24];
  return bits & 0x8000 ? -size : size;
}

/** A parameter: `values`, row by row, times the `scale` of their row. */
function readParam({ type, shape, data, scale }) {
  const [rows, columns = 1] = shape, raw = bytes(data).buffer;
  const values = type === "int8" ? new Int8Array(raw)
    : type === "float16" ? Float32Array.from(new Uint16Array(raw), widenHalf)
    : new Float32Array(raw);
  return { rows, columns, values, scale: scale ? new Float32Array(bytes(scale).buffer) : new Float32Array(rows).fill(1) };
}

/** Add the product of a matrix and a vector to `out`. */
function addProduct({ rows, columns, values, scale }, x, out) {
  for (let row = 0, at = 0; row < rows; row++) {
    let a = 0, b = 0, c = 0, d = 0, k = 0;
    for (; k + 3 < columns; k += 4, at += 4) {
      a += values[at] * x[k];
      b += values[at + 1] * x[k + 1];
      c += values[at + 2] * x[k + 2];
      d += values[at + 3] * x[k + 3];
    }
    for (; k < columns; k++, at++) a += values[at] * x[k];
    out[row] += (a + b + (c + d)) * scale[row];
  }
}

class Model {
  constructor({ units, layers, characters, boundary, unknown, counts, params, lowercase, normalize }) {
    const read = Object.fromEntries(Object.entries(params).map(([name, param]) => [name, readParam(param)]));
    Object.assign(this, { units, boundary, unknown, counts, lowercase, normalize });
    this.output = { w: read.w_out, b: read.b_out.values };
    this.characters = characters.map((point) => String.fromCodePoint(point));
    this.ids = new Map(this.characters.map((character, id) => [character, id]));
    this.layers = Array.from({ length: layers }, (_, k) => ({
      wx: read[`layer${k}.w_x`], wh: read[`layer${k}.w_h`], b: read[`layer${k}.b`].values,
    }));
    this.z = new Float64Array(4 * units);
  }

  zeroState() {
    return this.layers.map(() => ({ h: new Float64Array(this.units), c: new Float64Array(this.units) }));
  }

  /** Read a character; return the new state. */
  step(id, state) {
    const H = this.units, z = this.z, after = [];
    if (id === this.boundary) state = this.zeroState();
    this.layers.forEach(({ wx, wh, b }, k) => {
      z.set(b);
      if (k) addProduct(wx, after[k - 1].h, z);
      else for (let row = 0; row < 4 * H; row++) z[row] += wx.values[row * wx.columns + id] * wx.scale[row];
      addProduct(wh, state[k].h, z);
      const h = new Float64Array(H), c = new Float64Array(H);
      for (let j = 0; j < H; j++) {
        const g = tanh(z[j]), i = sigmoid(z[H + j]), f = sigmoid(z[2 * H + j]), o = sigmoid(z[3 * H + j]);
        c[j] = f * state[k].c[j] + i * g;
        h[j] = o * tanh(c[j]);
      }
      after.push({ h, c });
    });
    return after;
  }

  /** The logits of the next character. */
  logits(state) {
    const logits = Float64Array.from(this.output.b);
    addProduct(this.output.w, state[state.length - 1].h, logits);
    if (this.unknown !== null) logits[this.unknown] = -Infinity;
    return logits;
  }

  /** The state and logits before a text: after the boundary, or a newline, or nothing. */
  begin() {
    const first = this.boundary ?? this.ids.get("\n");
    if (first !== undefined) {
      const state = this.step(first, this.zeroState());
      return { state, logits: this.logits(state) };
    }
    const logits = Float64Array.from(this.counts, (n) => Math.fround(Math.log(n)));
    if (this.unknown !== null) logits[this.unknown] = -Infinity;
    return { state: this.zeroState(), logits };
  }

  /** A text that was typed, changed as the corpus was. */
  clean(text) {
    text = text.replace(/\r\n?/g, "\n");
    if (this.lowercase) text = text.toLowerCase();
    return this.normalize === "none" ? text : text.normalize(this.normalize);
  }

  /** The id of a character; undefined if it is not in the vocabulary. */
  idOf(character) {
    return this.ids.get(character) ?? this.unknown ?? undefined;
  }
}

/** Probabilities from logits. A temperature of 0 leaves only the most likely. */
function softmax(logits, temperature = 1) {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const p = logits.map((z) => (temperature ? exp((z - top) / temperature) : z === top ? 1 : 0));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((each) => each / sum);
}

const TOP_P = 0.95; // the default of --top-p

/** Sample an id from the most likely ones, up to a probability mass. */
function draw(p, random) {
  const ids = [...p.keys()].sort((a, b) => p[b] - p[a] || a - b), kept = [];
  let mass = 0;
  while (mass < TOP_P && kept.length < ids.length) {
    kept.push(ids[kept.length]);
    mass += p[kept[kept.length - 1]];
  }
  let left = random.next() * mass;
  return kept.find((id) => (left -= p[id]) < 0) ?? ids[0];
}
