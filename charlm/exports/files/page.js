/* The page that writes text: its controls, the coloured text, the next characters and the state.

   `startPage(source)` uses a source, which keeps the text and computes the characters. model.js has one that
   runs in the browser. A source has:

     source.info                       {summary, temperature, layers, units}: a sentence about the model, the
                                       temperature of its recipe, and its size
     source.read(text)                 an async iterator of {text, nats, state} that starts with a new text; nats is
                                       null for the first character, state is the state after the character
     source.write(settings)            such an iterator that continues the text; settings are {temperature, topP, seed,
                                       stop, length}; its return value is the reason for the end
     source.append(text)               such an iterator that adds a text chosen by the user
     source.leftOut                    unknown characters of the text that was read last
     source.look()                     a promise of {likely: [{text, probability}], state}
     source.off                        1 for each unit that is off
     source.switchUnits(indices, isOff)   switches units off or on

   A state is a list of the values of all units, from the lowest layer to the highest. The index of a unit is its
   index in this list.

   An iterator is closed when the user stops it. An Error thrown by a source is shown to the user. */
"use strict";

const FRAME_MS = 12;
const KEPT_VALUES = 1 << 24;  // values of states after characters, 64 MB; older states are dropped
const NAMES = new Map([[" ", ["␣", "space"]], ["\n", ["↵", "new line"]], ["\t", ["⇥", "tab"]], ["\r", ["␍", "return"]],
  ["\u00a0", ["⍽", "no-break space"]]]);

/** Returns the label of a character on a button, and its name. */
function describeCharacter(text) {
  if (NAMES.has(text)) return NAMES.get(text);
  if (!/^[\p{C}\p{Z}]$/u.test(text)) return [text, text];
  const code = `U+${text.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return [code, code];
}

function percent(probability) {
  return probability >= 0.0995 ? `${Math.round(100 * probability)}%` : `${(100 * probability).toFixed(1)}%`;
}

const bits = (nats) => (nats / Math.LN2).toFixed(2);
const signed = (value) => value.toFixed(3).replace("-", "\u2212");
const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Page {
  constructor(source) {
    this.source = source;
    this.job = null;  // the iterator that is running; a new one replaces it
    this.kept = [];  // elements of characters with the state after them as `state`, the oldest first
    this.here = null;  // index of the character whose state is shown; null = the last one
    this.chosen = null;  // index of the unit that colours the text; null = colours of surprise
    this.on = Object.fromEntries(Array.from(document.querySelectorAll("main [id]"), (element) => [element.id, element]));
    this.view = new StateView(this.on.state);
    this.listen();
    this.present(source.info);
  }

  /** Starts with a model, at the temperature of its recipe. */
  present(model) {
    const { on } = this;
    Object.assign(this, { model, off: this.source.off, state: null });
    on.summary.textContent = model.summary;
    on.temperature.max = Math.max(2, model.temperature);
    on.temperature.value = model.temperature;
    on.layer.replaceChildren(...Array.from({ length: model.layers }, (_, layer) => new Option(`rnn.${layer}`, layer)));
    on.unit.max = model.units - 1;
    this.countOff();
    this.chooseUnit(null);
    this.showValues();
    this.restart();
  }

  drawLegend() {
    const { legend } = this.on, { chosen } = this;
    if (chosen === null) return drawLegend(legend);
    legend.textContent = `Background: ${this.unitName(chosen)} after a character; blue is negative, orange positive, ` +
      `strongest at ${this.largest.toFixed(2)}.`;
  }

  listen() {
    const { on } = this;
    on.settings.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.isWriting) this.halt();
      else this.write();
    });
    on.restart.addEventListener("click", () => this.restart());
    on.prompt.addEventListener("input", () => this.restart());
    for (const name of ["temperature", "top-p"]) on[name].addEventListener("input", () => this.showValues());
    on.text.addEventListener("click", (event) => {
      const index = Array.prototype.indexOf.call(on.text.children, event.target);
      if (index >= 0) this.attempt(this.goTo(index === this.here ? null : index));
    });
    on.text.addEventListener("pointerover", (event) => this.showDetail(event.target));
    on.state.addEventListener("click", (event) => {
      const index = this.view.unitAt(event);
      this.chooseUnit(index === this.chosen ? null : index);
    });
    on.state.addEventListener("pointermove", (event) => this.nameUnit(this.view.unitAt(event)));
    on.state.addEventListener("pointerleave", () => this.nameUnit());
    for (const field of [on.layer, on.unit])
      field.addEventListener("input", () => {
        const isUnit = on.unit.value !== "" && on.unit.validity.valid;
        this.chooseUnit(isUnit ? on.layer.value * this.model.units + Number(on.unit.value) : null);
      });
    on.off.addEventListener("click", () => this.switchUnits([this.chosen], !this.off[this.chosen]));
    on["all-on"].addEventListener("click", () => this.switchUnits([...this.off.keys()], false));
    document.addEventListener("keydown", (event) => this.press(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawState());
    addEventListener("resize", () => this.drawState());
  }

  press(event) {
    const isField = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName), isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "Escape" && this.isWriting) this.halt();
    else if (event.key === "Escape") this.attempt(this.goTo(null));
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.isWriting) this.on.settings.requestSubmit();
    else if (!isField && /^[1-9]$/.test(event.key) && isPlain) this.on.next.querySelectorAll("button")[event.key - 1]?.click();
    else if (event.target === this.on.text && isPlain) this.walk(event);
  }

  showValues() {
    this.on["temperature-value"].textContent = Number(this.on.temperature.value).toFixed(2);
    this.on["top-p-value"].textContent = Number(this.on["top-p"].value).toFixed(2);
  }

  /** Returns the settings of the form; an empty seed is drawn at random. */
  get settings() {
    const { on } = this;
    const seed = on.seed.value.trim() || String(crypto.getRandomValues(new Uint32Array(1))[0]);
    return {
      temperature: Number(on.temperature.value),
      topP: Number(on["top-p"].value),
      seed: BigInt(seed),
      stop: on.stop.value.replace(/\\([nt\\])/g, (_, letter) => ({ n: "\n", t: "\t", "\\": "\\" })[letter]),
      length: Number(on.length.value),
    };
  }

  get isWriting() {
    return this.job?.isWriting ?? false;
  }

  /** Starts again with the prompt. */
  async restart() {
    const { isDone, isReplaced } = await this.run(this.source.read(this.on.prompt.value), { isNew: true });
    if (isReplaced) return;
    this.on.write.disabled = !isDone;  // the prompt could not be read
    if (!isDone) return this.drawNext([]);
    this.say("");
    this.showLeftOut();
  }

  /** Continues the text. */
  async write() {
    if (this.on.write.disabled || !this.on.settings.reportValidity()) return;
    await this.job?.done;
    const settings = this.settings;
    const pace = Number(this.on.pace.value);
    this.say(`Writing, seed ${settings.seed} ...`);
    const started = performance.now();
    const { isDone, count, reason } = await this.run(this.source.write(settings), { isWriting: true, pace });
    if (!isDone) return;
    const seconds = (performance.now() - started) / 1000;
    this.say(`${count} characters, ${Math.round(count / seconds)} per second; ${reason ?? "stopped"}; seed ${settings.seed}.`);
  }

  async choose(text) {
    await this.stop();
    const { isDone } = await this.run(this.source.append(text), { className: "chosen" });
    if (isDone) this.say("");
  }

  /** Shows the characters of an iterator as they come; returns {isDone, isReplaced, count, reason}. */
  async run(characters, { isNew = false, isWriting = false, pace = 0, className = "" }) {
    const job = { isWriting, isHalted: false, isReplaced: false, isDone: false };
    const previous = this.job;
    if (previous) previous.isHalted = previous.isReplaced = true;
    let finish;
    job.done = new Promise((resolve) => (finish = resolve));
    this.job = job;
    await previous?.done;
    if (isNew) {
      this.on.text.replaceChildren();
      this.on.detail.textContent = "";
      this.kept = [];
    }
    this.mark(null);
    this.showWriting();
    try {
      return await this.consume(characters, job, { pace, className });
    } catch (error) {
      if (!job.isReplaced) this.say(error.message, true);
      return { isDone: false, isReplaced: job.isReplaced };
    } finally {
      job.isWriting = false;
      this.showWriting();
      finish();
    }
  }

  async consume(characters, job, { pace, className }) {
    if (job.isReplaced) return job;
    const fragment = document.createDocumentFragment(), started = performance.now();
    let count = 0, frameStart = started, reason;
    for (;;) {
      const { value, done } = await characters.next();
      if (done) {
        reason = value;
        break;
      }
      fragment.append(this.makeCharacter(value, className));
      count++;
      if (pace) await pause(started + (1000 * count) / pace - performance.now());
      if (performance.now() - frameStart > FRAME_MS || pace) {
        this.show(fragment);
        await this.look();
        await nextFrame();
        frameStart = performance.now();
      }
      if (job.isHalted) break;
    }
    await characters.return();
    if (job.isReplaced) return job;
    this.show(fragment);
    await this.look();
    if (this.chosen !== null) this.attempt(this.paint());
    return { isDone: true, isReplaced: false, count, reason };
  }

  makeCharacter({ text, nats, state }, className) {
    const span = document.createElement("span");
    span.textContent = text;
    span.className = [surpriseClass(nats), className].filter(Boolean).join(" ");
    if (nats !== null) span.dataset.nats = nats.toFixed(3);
    this.tint(span, state?.[this.chosen]);
    span.state = state;
    if (state && this.kept.push(span) * state.length > KEPT_VALUES) this.kept.shift().state = undefined;
    return span;
  }

  /** Adds characters to the text, and scrolls if the end of the text was in view. */
  show(fragment) {
    const box = this.on.text, wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(fragment);
    if (wasAtEnd) box.scrollTop = box.scrollHeight;
  }

  async look() {
    const { likely, state } = await this.source.look();
    this.last = state;
    if (this.here === null) this.state = state;
    this.drawNext(likely);
    this.drawState();
  }

  drawNext(likely) {
    const list = this.on.next;
    while (list.children.length > likely.length) list.lastChild.remove();
    while (list.children.length < likely.length) list.append(this.makeChoice(list.children.length));
    likely.forEach(({ text, probability }, index) => {
      const button = list.children[index].firstChild, [glyph, name] = describeCharacter(text);
      const [, character, share, bar] = button.children;
      character.textContent = glyph;
      share.textContent = percent(probability);
      bar.style.width = `${100 * probability}%`;
      button.setAttribute("aria-label", `${name}, ${percent(probability)}`);
      button.value = text;
      button.dataset.text = text;
    });
  }

  makeChoice(index) {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    for (const name of ["number", "character", "share", "bar"]) {
      const part = document.createElement("span");
      part.className = name;
      button.append(part);
    }
    button.firstChild.textContent = index + 1;
    button.addEventListener("click", () => this.choose(button.dataset.text));
    item.append(button);
    return item;
  }

  /** Shows the state after a character of the text; null = the last one. */
  async goTo(index) {
    const { children } = this.on.text;
    const state = index === null ? this.last : children[index]?.state;
    if (!state) return;  // the state was dropped, or the text has changed
    this.mark(index);
    this.state = state;
    this.drawState();
  }

  /** Waits for a promise, and shows its error if it fails. */
  attempt(work) {
    return work.catch((error) => this.say(error.message, true));
  }

  /** Moves the outline to a character of the text; null = nowhere. */
  mark(index) {
    const { children } = this.on.text;
    children[this.here]?.classList.remove("here");
    this.here = index;
    children[index]?.classList.add("here");
    this.showDetail(children[index]);
  }

  /** The arrow keys move through the text. */
  walk(event) {
    const { children } = this.on.text, now = this.here ?? children.length;
    const goal = placeAfterKey(event.key, children, now);
    if (goal === undefined || goal === now || goal < 0) return;
    event.preventDefault();
    this.attempt(this.goTo(goal));
    children[goal].scrollIntoView({ block: "nearest" });
  }

  /** Colours the text by a unit; null = by surprise. */
  chooseUnit(index) {
    const { on } = this, { units } = this.model;
    this.chosen = index;
    if (index !== null) on.layer.value = Math.floor(index / units);
    if (index !== null || on.unit.validity.valid) on.unit.value = index === null ? "" : index % units;
    this.drawState();
    return this.attempt(this.paint());
  }

  async paint() {
    const { chosen } = this, spans = this.on.text.children;
    const values = chosen === null ? [] : Array.from(spans, ({ state }) => state?.[chosen]);
    if (chosen !== this.chosen) return;
    this.largest = values.reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 0) || 1;
    for (let index = 0; index < spans.length; index++) this.tint(spans[index], values[index]);
    this.drawLegend();
  }

  /** Colours a character by the value of the chosen unit after it, if that is known. */
  tint(span, value) {
    const colour = value < 0 ? "negative" : "positive", share = Math.round((60 * Math.abs(value ?? 0)) / this.largest);
    span.style.backgroundColor = this.chosen === null ? "" : `color-mix(in srgb, var(--${colour}) ${Math.min(60, share)}%, transparent)`;
    span.dataset.value = value ?? "";
  }

  unitName(index) {
    return `rnn.${Math.floor(index / this.model.units)}, unit ${index % this.model.units}`;
  }

  /** Shows the value of a unit in the displayed state. */
  nameUnit(index = this.chosen) {
    const { on, off } = this;
    if (!this.state) return;
    on.off.disabled = this.chosen === null;
    on.off.textContent = off[this.chosen] ? "Switch on" : "Switch off";
    on["unit-value"].textContent = index === null ? ""
      : `${this.unitName(index)}: ${signed(this.state[index])}${off[index] ? ", now off" : ""}`;
  }

  /** Switches units off or on; this changes the next characters, not the text so far. */
  async switchUnits(indices, isOff) {
    this.source.switchUnits(indices, isOff);
    this.countOff();
    await this.look();
  }

  countOff() {
    const count = this.off.reduce((a, b) => a + b, 0);
    this.on["all-on"].hidden = count === 0;
    this.on["all-on"].textContent = `${count === 1 ? "1 unit is" : `${count} units are`} off: switch all on`;
  }

  drawState() {
    const { on, state, here } = this, { layers, units } = this.model;
    on["state-section"].hidden = !state;
    if (!state) return;
    const largest = this.view.draw(state, this.model, this);
    const place = here === null ? "the last character" : `character ${here + 1} of the text, ${describeCharacter(on.text.children[here].textContent)[0]}`;
    const note = `${layers} ${layers === 1 ? "layer" : "layers"} of ${units} units after ${place}, the lowest layer first: ` +
      `blue is negative, orange positive, strongest at ${largest === 1 ? "1" : largest.toFixed(1)}.`;
    on["state-note"].textContent = note;
    on.state.setAttribute("aria-label", note);
    this.nameUnit();
  }

  showDetail(target) {
    if (target?.parentNode !== this.on.text) return;
    const { nats, value } = target.dataset, [glyph] = describeCharacter(target.textContent), facts = [];
    if (nats) facts.push(`probability ${percent(Math.exp(-nats))}, ${Number(nats).toFixed(2)} nats, ${bits(nats)} bits`);
    if (value) facts.push(`${this.unitName(this.chosen)}: ${signed(Number(value))}`);
    this.on.detail.textContent = facts.length ? `${glyph}: ${facts.join("; ")}` : "";
  }

  halt() {
    if (this.job) this.job.isHalted = true;
  }

  async stop() {
    this.halt();
    await this.job?.done;
  }

  showWriting() {
    this.on.write.textContent = this.isWriting ? "Stop" : "Write";
  }

  /** Shows the characters of the prompt that the model does not know. */
  showLeftOut() {
    const names = [...new Set(this.source.leftOut)].map((character) => describeCharacter(character)[0]);
    this.on["left-out"].textContent = names.length ? `The model does not know these characters, so they are left out: ${names.join(" ")}` : "";
  }

  say(message, isWrong = false) {
    this.on.status.textContent = message;
    this.on.status.classList.toggle("wrong", isWrong);
  }
}

/** Starts the page with a source of characters, and returns the page. */
function startPage(source) {
  return new Page(source);
}
