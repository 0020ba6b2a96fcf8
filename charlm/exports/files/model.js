/* The network in plain JavaScript, and a source of characters for the page (page.js describes sources).

   h_t = f(x_t U + h_{t-1} V + b) in each layer, logits_t = h_t W + c (Elman 1990); with skip connections every layer
   reads x too, and the logits read all layers (Graves 2013). */
"use strict";

const ACTIVATIONS = {
  tanh: Math.tanh,
  relu: (x) => Math.max(x, 0),
  sigmoid: (x) => 0.5 * Math.tanh(0.5 * x) + 0.5,
  linear: (x) => x,
};

/** A matrix [rows, columns], stored in blocks of four columns, so that a product reads memory in order. */
class Matrix {
  constructor(values, rows, columns) {
    this.rows = rows;
    this.blocks = Math.ceil(columns / 4);  // the last block is filled with zeros
    this.values = new Float32Array(4 * this.blocks * rows);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        this.values[4 * ((column >> 2) * rows + row) + (column & 3)] = values[row * columns + column];
  }

  /** Adds the product of a vector and the matrix to y [4 * blocks]; the vector is x[start:start + rows]. */
  multiplyAdd(x, start, y) {
    const { values, rows, blocks } = this, end = start + rows;
    for (let block = 0, at = 0; block < blocks; block++) {
      let a = 0, b = 0, c = 0, d = 0;  // four independent sums
      for (let row = start; row < end; row++, at += 4) {
        const value = x[row];
        a += value * values[at];
        b += value * values[at + 1];
        c += value * values[at + 2];
        d += value * values[at + 3];
      }
      y[4 * block] += a;
      y[4 * block + 1] += b;
      y[4 * block + 2] += c;
      y[4 * block + 3] += d;
    }
  }
}

/** The network: `step` reads a character. The state, [H] for each layer in one Float32Array, belongs to the caller. */
class Network {
  /** `spec` has the sizes of the network, and `tensors` the weights by their names in a model file. */
  constructor(spec, tensors) {
    this.spec = spec;
    this.activate = ACTIVATIONS[spec.activation];
    this.embedding = tensors.embedding ?? null;
    const { layers, units, vocabulary_size: V, skip_connections: skips } = spec;
    this.inputWidth = spec.embedding;  // null without an embedding, where the input is one-hot
    this.layers = Array.from({ length: layers }, (_, layer) => this.makeLayer(layer, tensors));
    this.logitsKernel = new Matrix(tensors["logits.kernel"], units * (skips ? layers : 1), V);
    this.logitsBias = tensors["logits.bias"];
    this.sums = new Float64Array(units + 3);  // 3 more for the zeros in the last block
    this.paddedLogits = new Float64Array(V + 3);
    this.logits = this.paddedLogits.subarray(0, V);
    this.off = new Uint8Array(layers * units);  // 1 for each unit that is switched off
  }

  makeLayer(layer, tensors) {
    const { units, use_bias, skip_connections: skips } = this.spec;
    const kernel = tensors[`rnn.${layer}.kernel`], below = layer ? units : 0;
    const readsInput = !layer || skips;
    return {
      bias: use_bias ? tensors[`rnn.${layer}.bias`] : new Float32Array(units),
      below: layer ? new Matrix(kernel.subarray(0, units * units), units, units) : null,
      input: readsInput && this.embedding ? new Matrix(kernel.subarray(below * units), this.inputWidth, units) : null,
      table: readsInput && !this.embedding ? kernel.subarray(below * units) : null,  // a row for each character
      recurrent: new Matrix(tensors[`rnn.${layer}.recurrent_kernel`], units, units),
    };
  }

  zeroState() {
    return new Float32Array(this.spec.layers * this.spec.units);
  }

  /** Reads a character, changes the state, and returns the next logits; the next call overwrites them. */
  step(id, state) {
    const { units } = this.spec, { sums, off, activate } = this;
    this.layers.forEach((layer, index) => {
      const start = index * units;
      sums.set(layer.bias);
      if (layer.table) for (let unit = 0; unit < units; unit++) sums[unit] += layer.table[id * units + unit];
      if (layer.input) layer.input.multiplyAdd(this.embedding, id * this.inputWidth, sums);
      if (layer.below) layer.below.multiplyAdd(state, start - units, sums);
      layer.recurrent.multiplyAdd(state, start, sums);
      for (let unit = 0; unit < units; unit++) state[start + unit] = off[start + unit] ? 0 : activate(sums[unit]);
    });
    return this.readLogits(state);
  }

  /** Returns the next logits after a state; the next call overwrites them. */
  readLogits(state) {
    this.logits.set(this.logitsBias);
    this.logitsKernel.multiplyAdd(state, state.length - this.logitsKernel.rows, this.paddedLogits);
    return this.logits;
  }
}

/** Decodes float32 numbers, little-endian, from base64. */
function decodeWeights(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

/** Returns the network that an export describes: `spec` with `tensors`, a list of [name, number of values]. */
function buildNetwork(spec, base64) {
  const weights = decodeWeights(base64.trim());
  let start = 0;
  const tensors = {};
  for (const [name, size] of spec.tensors) tensors[name] = weights.subarray(start, (start += size));
  return new Network(spec.architecture, tensors);
}

/** The random numbers of NumPy, `default_rng([seed, 0]).random()`, so that a seed gives the text of charlm. */
class Random {
  constructor(seed) {
    const words = this.seedWords(seed);
    const wide = (index) => BigInt(words[index]) | (BigInt(words[index + 1]) << 32n);
    this.increment = BigInt.asUintN(128, (((wide(4) << 64n) | wide(6)) << 1n) | 1n);
    this.state = BigInt.asUintN(128, this.increment + ((wide(0) << 64n) | wide(2)));
    this.advance();
  }

  /** NumPy's SeedSequence: mixes [seed, 0] into a pool of four words, and draws eight words from it. */
  seedWords(seed) {
    const entropy = [];
    for (let rest = BigInt(seed); entropy.length === 0 || rest > 0n; rest >>= 32n) entropy.push(Number(rest & 0xffffffffn));
    entropy.push(0);
    let constant = 0x43b0d7e5;
    const hash = (value, multiplier) => {
      value ^= constant;
      constant = Math.imul(constant, multiplier);
      value = Math.imul(value, constant);
      return value ^ (value >>> 16);
    };
    const mix = (x, y) => {
      const value = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715);
      return value ^ (value >>> 16);
    };
    const pool = [0, 1, 2, 3].map((index) => hash(entropy[index] ?? 0, 0x931e8875));
    for (let from = 0; from < 4; from++)
      for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from], 0x931e8875));
    for (const word of entropy.slice(4))
      for (let to = 0; to < 4; to++) pool[to] = mix(pool[to], hash(word, 0x931e8875));
    constant = 0x8b51f9dd;
    return Array.from({ length: 8 }, (_, index) => hash(pool[index % 4], 0x58f38ded) >>> 0);
  }

  advance() {
    this.state = BigInt.asUintN(128, this.state * 0x2360ed051fc65da44385df649fccf645n + this.increment);
  }

  /** Returns the next number of PCG64 (O'Neill 2014), in [0, 1). */
  next() {
    this.advance();
    const folded = BigInt.asUintN(64, (this.state >> 64n) ^ this.state), turn = this.state >> 122n;
    const turned = BigInt.asUintN(64, (folded >> turn) | (folded << (64n - turn)));
    return Number(turned >> 11n) * 2 ** -53;
  }
}

/** Returns the probabilities of logits at temperature 1, in a new Float64Array. */
function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

/** Chooses an id like charlm: temperature, then top-p, then the inverse of the cumulative distribution. */
function choose(logits, { temperature, topP }, uniform) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(largest)) throw new Error("The logits are not finite: no character can be chosen.");
  if (temperature === 0) return logits.indexOf(largest);
  const weights = logits.map((logit) => Math.exp((logit - largest) / temperature));
  if (topP < 1) keepLikeliest(weights, topP);
  const goal = uniform * weights.reduce((a, b) => a + b, 0);
  let sum = 0, last = 0;
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] > 0) last = id;
    sum += weights[id];
    if (sum > goal) return id;
  }
  return last;
}

/** Keeps the smallest number of largest weights that reach the share topP of the sum; the others become 0. */
function keepLikeliest(weights, topP) {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  const goal = topP * weights.reduce((a, b) => a + b, 0);
  let sum = 0;
  for (const id of order) {
    const weight = weights[id];
    if (sum >= goal) weights[id] = 0;
    sum += weight;
  }
}

/** A source of characters for the page: the network and the text that it has read. */
class LocalSource {
  constructor(spec, base64) {
    this.info = spec.about;
    this.network = buildNetwork(spec, base64);
    this.off = this.network.off;
    const { characters, unknown_id, end_of_text_id } = spec.vocabulary;
    Object.assign(this, { characters, unknownId: unknown_id, endId: end_of_text_id, start: spec.start });
    this.ids = new Map(characters.map((character, id) => [character, id]));
    this.begin();
  }

  begin() {
    this.state = this.network.zeroState();
    this.logits = null;
    this.random = null;
  }

  /** Switches units off or on, from the present state. */
  switchUnits(indices, isOff) {
    for (const index of indices) this.off[index] = isOff;
    this.refresh();
  }

  /** Sets the units that are off to 0 in the state, and computes the next logits. */
  refresh() {
    this.off.forEach((isOff, index) => { if (isOff) this.state[index] = 0; });
    if (this.logits !== null) this.logits = this.network.readLogits(this.state);
  }

  /** Reads a text from the zero state; yields each character with its nats (null for the first) and the state. */
  async *read(text) {
    const ids = this.encode(text);
    this.begin();
    if (ids.length === 0) for (const id of this.start) this.advance(id);
    for (const id of ids) yield this.put(id);
  }

  /** Continues the text by `length` characters, up to the stop text or its end; returns the reason for the end. */
  async *write({ temperature, topP, seed, stop: givenStop, length }) {
    const stop = givenStop.normalize("NFC");  // like the characters of the model
    if (this.random === null || this.seed !== seed) this.random = new Random((this.seed = seed));
    const held = [];  // characters that may begin the stop text, each with the state before it
    const heldText = () => held.map(({ step }) => step.text).join("");
    try {
      for (let count = 0; count < length; count++) {
        const id = choose(this.allowedLogits(), { temperature, topP }, this.random.next());
        if (id === this.endId) {
          while (held.length) yield held.shift().step;
          return "the model ended the text";
        }
        const before = this.snapshot();
        held.push({ step: this.put(id), before });
        while (held.length && !stop.startsWith(heldText())) yield held.shift().step;
        if (stop && heldText() === stop) return "the stop text came";
      }
      while (held.length) yield held.shift().step;
      return "the length is reached";
    } finally {  // characters that were not shown are taken back
      if (held.length) this.restore(held[0].before);
    }
  }

  snapshot() {
    return this.state.slice();
  }

  restore(state) {
    this.state.set(state);
    this.refresh();
  }

  /** Appends a text, for instance a character chosen by the user; yields its characters. */
  async *append(text) {
    for (const id of this.encode(text)) yield this.put(id);
  }

  /** Returns the next characters, the most likely first, and the state. */
  async look(count = 9) {
    const probabilities = softmax(this.logits);
    const ids = Array.from(probabilities.keys()).filter((id) => this.characters[id] !== null);
    ids.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    const likely = ids.slice(0, count).map((id) => ({ text: this.glyph(id), probability: probabilities[id] }));
    return { likely, state: this.snapshot() };
  }

  /** Returns the ids of a text; unknown characters are left out and listed in `leftOut`. */
  encode(text) {
    const known = [...text.normalize("NFC")].map((character) => [character, this.ids.get(character) ?? this.unknownId]);
    this.leftOut = known.filter(([, id]) => id === null).map(([character]) => character);
    return known.map(([, id]) => id).filter((id) => id !== null);
  }

  /** Reads one id, not that of the end of the text; returns its character. */
  put(id) {
    const nats = this.logits === null ? null : -Math.log(Math.max(softmax(this.logits)[id], Number.MIN_VALUE));
    this.advance(id);
    return { text: this.glyph(id), nats, state: this.snapshot() };
  }

  advance(id) {
    this.logits = this.network.step(id, this.state);
  }

  allowedLogits() {
    if (this.unknownId === null) return this.logits;
    return this.logits.map((logit, id) => (id === this.unknownId ? -Infinity : logit));
  }

  glyph(id) {
    return id === this.unknownId ? "\ufffd" : this.characters[id];
  }
}
