/* A source of characters for page.js: the server that the page comes from, by the requests that any client sends. */
"use strict";

const CONTEXT = 8000;  // characters of the text that a request repeats; a SimpleRNN has forgotten what came before
const REASONS = { stop: "the stop text came, or the model ended the text", length: "the length is reached" };

class EndpointSource {
  /** models: [{name, summary, temperature, layers, units}], one or more. */
  constructor(models) {
    this.info = { ...models[0], models };
    this.setModel(models[0]);
    this.text = "";
    this.likely = [];
    this.state = null;
    this.isStreaming = false;
  }

  /** Begins to ask another of the models, with all its units. */
  setModel({ name, layers, units }) {
    Object.assign(this, { model: name, units, off: new Uint8Array(layers * units) });
  }

  /** Asks the server about the first characters of the text; without `count` about all of it. */
  async ask(path, settings, { count, seed = null, signal } = {}) {
    const prompt = [...this.text].slice(0, count).slice(-CONTEXT).join("");
    const units_off = [...this.off.keys()].filter((index) => this.off[index]);
    let body = JSON.stringify({ model: this.model, prompt, units_off, ...settings });
    if (seed !== null) body = `${body.slice(0, -1)},"seed":${seed}}`;  // a BigInt, which JSON.stringify refuses
    const headers = { "Content-Type": "application/json", ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) };
    const response = await fetch(path, { method: "POST", headers, body, signal });
    if (response.status === 401 && (this.key = window.prompt("The key of this server:"))) return this.ask(path, settings, { count, seed, signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    return response;
  }

  /** Yields the characters of a choice with their nats, null if its tokens are bytes; those that nobody takes from it
      do not become part of the text. */
  *characters({ text, logprobs }) {
    const { tokens, token_logprobs: logs } = logprobs;
    const pieces = tokens.join("") === text ? tokens : [...text];
    for (const [index, piece] of pieces.entries()) {
      this.text += piece;
      yield { text: piece, nats: pieces === tokens ? -logs[index] : null };
    }
  }

  async *read(text) {
    this.text = text;
    for (const character of text) yield { text: character, nats: null };
  }

  async *write({ temperature, topP, seed, stop, length }) {
    const settings = { temperature, top_p: topP, max_tokens: length, stream: true, logprobs: 0, ...(stop ? { stop } : {}) };
    this.isStreaming = true;
    this.controller = new AbortController();
    try {
      let reason = null;
      for await (const { choices } of readEvents(await this.ask("v1/completions", settings, { seed, signal: this.controller.signal }))) {
        for (const choice of choices) {
          yield* this.characters(choice);
          reason = choice.finish_reason ?? reason;
        }
      }
      return REASONS[reason];
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      this.isStreaming = false;
      this.controller.abort();
    }
  }

  async *append(text) {
    this.text += text;
    const chosen = this.likely.find((choice) => choice.text === text);
    yield { text, nats: chosen ? -Math.log(chosen.probability) : null };
  }

  /** Returns what may come next, and the state; while a text streams in, those before it. */
  async look(count = 9) {
    if (!this.isStreaming) {
      const [choice] = (await (await this.ask("v1/completions", { max_tokens: 1, temperature: 0, logprobs: count })).json()).choices;
      const likely = Object.entries(choice.logprobs.top_logprobs[0] ?? {}).map(([text, logprob]) => ({ text, probability: Math.exp(logprob) }));
      this.likely = likely.filter(({ text }) => [...text].length === 1).sort((a, b) => b.probability - a.probability);
      this.state = await this.stateAfter();
    }
    return { likely: this.likely, state: this.state };
  }

  async stateAfter(index = Infinity) {
    const answer = await this.ask("v1/states", {}, { count: index + 1 });
    return Float32Array.from((await answer.json()).state.flat());
  }

  async follow(index) {
    const { units } = this;
    const text = [...this.text], start = Math.max(0, text.length - CONTEXT);
    const answer = await this.ask("v1/states", { layer: Math.floor(index / units), unit: index % units });
    const { values } = await answer.json(), isBytes = values.length > text.length - start;
    let end = 0;
    const found = text.map((character, at) => (at < start ? null : values[(end += isBytes ? new TextEncoder().encode(character).length : 1) - 1]));
    if (end !== values.length) throw new Error("The server leaves out characters that the model does not know: no unit colours this text.");
    return found;
  }

  /** Switches units off or on: the server then reads the whole text without those that are off. */
  switchUnits(indices, isOff) {
    for (const index of indices) this.off[index] = isOff;
  }

  /** Ends the answer that is streaming in. */
  halt() {
    if (this.isStreaming) this.controller.abort();
  }
}

/** Yields the JSON objects of a stream of server-sent events. */
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (pending + value).split("\n\n");
    pending = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const object = JSON.parse(data);
      if (object.error) throw new Error(object.error.message);
      yield object;
    }
  }
}
