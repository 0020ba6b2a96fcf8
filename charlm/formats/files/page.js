/* The page that writes text: its controls, the coloured text, the next characters, the state.

   `startPage(source)` asks a source of characters, which keeps the text and computes (model.js has one that runs in the
   browser):

     source.info                       {summary, models}: what the model is, in a sentence; models, if there are several to
                                       choose from: [{name, summary}], of which the name is set as source.model
     source.read(text)                 async iterator of {text, nats}: begins anew with a text; nats is null if unknown
     source.write(settings)            async iterator of {text, nats}: continues; settings are {temperature, topP, seed,
                                       stop, length}; its return value says why it ended
     source.append(text)               async iterator of {text, nats}: adds what the user has chosen
     source.look()                     a promise of {likely: [{text, probability}], state: [Float32Array] or null}
     source.halt()                     optional: ends what is being written at once

   An iterator is closed when the user stops it. An Error that a source throws is shown by its message. */
"use strict";

const SURPRISE_NATS = [0.7, 1.6, 3, 5];  // where the colours s1 to s4 begin: chances of 50%, 20%, 5% and 0.7%
const FRAME_MS = 12;
const NAMES = new Map([[" ", ["␣", "space"]], ["\n", ["↵", "new line"]], ["\t", ["⇥", "tab"]], ["\r", ["␍", "return"]],
  ["\u00a0", ["⍽", "no-break space"]]]);

/** Returns what a character looks like on a button, and its name. */
function describeCharacter(text) {
  if (NAMES.has(text)) return NAMES.get(text);
  if (!/^[\p{C}\p{Z}]$/u.test(text)) return [text, text];
  const code = `U+${text.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return [code, code];
}

function percent(probability) {
  return probability >= 0.0995 ? `${Math.round(100 * probability)}%` : `${(100 * probability).toFixed(1)}%`;
}

function surpriseClass(nats) {
  const level = nats === null ? 0 : SURPRISE_NATS.filter((limit) => nats >= limit).length;
  return level ? `s${level}` : "";
}

const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Page {
  constructor(source) {
    this.source = source;
    this.job = null;  // what is being read or written; another one replaces it
    const names = ["summary", "settings", "prompt", "temperature", "temperature-value", "top-p", "top-p-value", "seed", "stop",
      "length", "pace", "write", "restart", "status", "text", "detail", "next", "state", "state-note", "state-section"];
    this.on = Object.fromEntries(names.map((name) => [name, document.getElementById(name)]));
    this.on.summary.textContent = source.info.summary;
    this.offerModels(source.info.models ?? []);
    this.makeLegend();
    this.listen();
    this.showValues();
    this.restart();
  }

  offerModels(models) {
    if (models.length < 2) return;
    const label = document.createElement("label"), select = document.createElement("select");
    label.className = "wide";
    label.append("Model", select);
    select.id = "model";
    select.append(...models.map(({ name }) => new Option(name)));
    select.addEventListener("change", () => {
      const { name, summary } = models[select.selectedIndex];
      this.source.model = name;
      this.on.summary.textContent = summary;
      this.restart();
    });
    this.on.settings.prepend(label);
  }

  makeLegend() {
    const legend = document.querySelector(".legend");
    legend.append("Background: the chance that the model gave a character.");
    ["50% or more", "< 50%", "< 20%", "< 5%", "< 0.7%"].forEach((label, level) => {
      const sample = document.createElement("i");
      if (level) sample.className = `s${level}`;
      sample.textContent = label;
      legend.append(sample);
    });
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
    on.text.addEventListener("click", (event) => this.showDetail(event.target));
    on.text.addEventListener("pointerover", (event) => this.showDetail(event.target));
    document.addEventListener("keydown", (event) => this.press(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawState());
    addEventListener("resize", () => this.drawState());
  }

  press(event) {
    const isField = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "Escape" && this.isWriting) this.halt();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.isWriting) this.on.settings.requestSubmit();
    else if (!isField && /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey)
      this.on.next.querySelectorAll("button")[event.key - 1]?.click();
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

  /** Begins anew with the prompt. */
  async restart() {
    const { isDone, isReplaced } = await this.run(this.source.read(this.on.prompt.value), { isNew: true });
    if (isReplaced) return;
    this.on.write.disabled = !isDone;  // the prompt could not be read
    if (isDone) this.say("");
    else this.drawNext([]);
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
    this.source.halt?.();
    let finish;
    job.done = new Promise((resolve) => (finish = resolve));
    this.job = job;
    await previous?.done;
    if (isNew) {
      this.on.text.replaceChildren();
      this.on.detail.textContent = "";
    }
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
    const pieces = document.createDocumentFragment(), started = performance.now();
    let count = 0, frameStart = started, reason;
    for (;;) {
      const { value, done } = await characters.next();
      if (done) {
        reason = value;
        break;
      }
      pieces.append(this.makeCharacter(value, className));
      count++;
      if (pace) await pause(started + (1000 * count) / pace - performance.now());
      if (performance.now() - frameStart > FRAME_MS || pace) {
        this.show(pieces);
        await this.look();
        await nextFrame();
        frameStart = performance.now();
      }
      if (job.isHalted) break;
    }
    await characters.return();
    if (job.isReplaced) return job;
    this.show(pieces);
    await this.look();
    return { isDone: true, isReplaced: false, count, reason };
  }

  makeCharacter({ text, nats }, className) {
    const span = document.createElement("span");
    span.textContent = text;
    span.className = [surpriseClass(nats), className].filter(Boolean).join(" ");
    if (nats !== null) span.dataset.nats = nats.toFixed(3);
    return span;
  }

  /** Adds characters to the text, and keeps its end in view if it was. */
  show(pieces) {
    const box = this.on.text, wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(pieces);
    if (wasAtEnd) box.scrollTop = box.scrollHeight;
  }

  async look() {
    const { likely, state } = await this.source.look();
    this.state = state;
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

  /** Draws a cell for each unit, a block of rows for each layer: from -1, or the lowest value, to its opposite. */
  drawState() {
    this.on["state-section"].hidden = !this.state;
    if (!this.state) return;
    const canvas = this.on.state, width = canvas.clientWidth, units = this.state[0].length;
    const rows = Math.ceil(units / Math.max(16, Math.floor(width / 9))), columns = Math.ceil(units / rows), cell = width / columns, height = Math.min(cell, 16), gap = 4;
    const ratio = window.devicePixelRatio || 1, total = this.state.length * (rows * height + gap) - gap;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(total * ratio);
    canvas.style.height = `${total}px`;
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const [negative, zero, positive] = ["--negative", "--zero", "--positive"].map((name) => style.getPropertyValue(name));
    const largest = this.state.reduce((most, layer) => layer.reduce((a, b) => Math.max(a, Math.abs(b)), most), 1);
    context.scale(ratio, ratio);
    this.state.forEach((layer, index) => {
      const top = index * (rows * height + gap);
      context.globalAlpha = 1;
      context.fillStyle = zero;
      context.fillRect(0, top, width, rows * height);
      layer.forEach((value, unit) => {
        context.globalAlpha = Math.min(1, Math.abs(value) / largest);
        context.fillStyle = value < 0 ? negative : positive;
        context.fillRect((unit % columns) * cell, top + Math.floor(unit / columns) * height, cell, height);
      });
    });
    this.describeState(largest);
  }

  describeState(largest) {
    const layers = `${this.state.length} ${this.state.length === 1 ? "layer" : "layers"}`;
    const bound = largest === 1 ? "1" : largest.toFixed(1);
    const note = `${layers} of ${this.state[0].length} units after the last character, the lowest layer first: ` +
      `blue is negative, orange positive, strongest at ${bound}.`;
    this.on["state-note"].textContent = note;
    this.on.state.setAttribute("aria-label", note);
  }

  showDetail(target) {
    if (target.dataset?.nats === undefined) return;
    const nats = Number(target.dataset.nats), [glyph] = describeCharacter(target.textContent);
    this.on.detail.textContent = `${glyph}: a chance of ${percent(Math.exp(-nats))}, ${nats.toFixed(2)} nats`;
  }

  halt() {
    if (this.job) this.job.isHalted = true;
    this.source.halt?.();
  }

  async stop() {
    this.halt();
    await this.job?.done;
  }

  showWriting() {
    this.on.write.textContent = this.isWriting ? "Stop" : "Write";
  }

  say(message, isWrong = false) {
    this.on.status.textContent = message;
    this.on.status.classList.toggle("wrong", isWrong);
  }
}

/** Starts the page with a source of characters; returns it. */
function startPage(source) {
  return new Page(source);
}
