/* The page that writes: it asks the server that it comes from, by the same requests that any client sends. */
"use strict";

const CHOICES = 12;
const CONTEXT = 8000;  // characters of the text that a request repeats; a SimpleRNN has forgotten what came before
const UNLIKELY = [0.5, 0.2, 0.05, 0.01];  // below these chances a character has the colours s1 to s4
const NAMES = new Map([[" ", ["␣", "space"]], ["\n", ["↵", "new line"]], ["\t", ["⇥", "tab"]], ["\r", ["␍", "return"]]]);

const on = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
let text = "";
let writing = null;  // the AbortController of the text that is streaming in
let looks = 0;  // counts the requests for the next characters: only the newest is shown

async function ask(body, signal) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const response = await fetch("v1/completions", request);
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
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

function context() {
  return [...text.slice(-CONTEXT)].filter((character) => !/^[\ud800-\udfff]$/.test(character)).join("");
}

function say(message, isWrong = false) {
  on.status.textContent = message;
  on.status.classList.toggle("wrong", isWrong);
}

function addText(characters, className) {
  const wasAtEnd = on.text.scrollHeight - on.text.scrollTop - on.text.clientHeight < 40;
  const span = document.createElement("span");
  span.textContent = characters;
  span.className = className;
  on.text.append(span);
  text += characters;
  if (wasAtEnd) on.text.scrollTop = on.text.scrollHeight;
}

function unlikelyClass(logprob) {
  const level = UNLIKELY.filter((chance) => Math.exp(logprob) < chance).length;
  return level ? `s${level}` : "";
}

/** Adds a piece of an answer: each character with its colour, or the whole piece if its tokens are bytes. */
function addPiece({ text: piece, logprobs }) {
  if (logprobs.tokens.join("") !== piece) return addText(piece, "");
  logprobs.tokens.forEach((token, index) => addText(token, unlikelyClass(logprobs.token_logprobs[index])));
}

async function write() {
  if (!on.settings.reportValidity()) return;
  const seed = Number(on.seed.value || crypto.getRandomValues(new Uint32Array(1))[0]);
  const controller = writing = new AbortController();
  const started = performance.now(), before = text.length;
  showWriting();
  say(`Writing, seed ${seed} ...`);
  try {
    const settings = { temperature: Number(on.temperature.value), top_p: Number(on["top-p"].value), seed };
    const body = { ...settings, model: on.model.value, prompt: context(), max_tokens: Number(on.length.value) };
    const response = await ask({ ...body, stream: true, logprobs: 0 }, controller.signal);
    for await (const { choices } of readEvents(response)) {
      for (const choice of choices) addPiece(choice);
    }
    const rate = Math.round((1000 * (text.length - before)) / (performance.now() - started));
    say(`${text.length - before} characters, ${rate} per second; seed ${seed}.`);
  } catch (error) {
    const isStopped = error.name === "AbortError";
    say(isStopped ? `Stopped after ${text.length - before} characters; seed ${seed}.` : error.message, !isStopped);
  }
  if (writing === controller) writing = null;
  showWriting();
  await look();
}

function showWriting() {
  on.write.textContent = writing ? "Stop" : "Write";
}

function stop() {
  writing?.abort();
  writing = null;
}

/** Shows the characters that are likeliest to come next. */
async function look() {
  const number = ++looks;
  try {
    const body = { model: on.model.value, prompt: context(), max_tokens: 1, temperature: 0, logprobs: CHOICES };
    const [choice] = (await (await ask(body)).json()).choices;
    const likeliest = Object.entries(choice.logprobs.top_logprobs[0] ?? {}).sort((one, other) => other[1] - one[1]);
    if (number === looks) showChoices(likeliest.filter(([token]) => [...token].length === 1));
  } catch (error) {
    if (number === looks) say(error.message, true);
  }
}

function showChoices(likeliest) {
  on.next.replaceChildren(...likeliest.map(([character, logprob], index) => {
    const [glyph, name] = NAMES.get(character) ?? [character, character];
    const share = `${(100 * Math.exp(logprob)).toFixed(logprob > Math.log(0.1) ? 0 : 1)}%`;
    const button = document.createElement("button");
    for (const [kind, label] of [["number", index + 1], ["character", glyph], ["share", share]]) {
      const part = document.createElement("span");
      part.className = kind;
      part.textContent = label;
      button.append(part);
    }
    button.type = "button";
    button.value = character;
    button.setAttribute("aria-label", `${name}, ${share}`);
    button.addEventListener("click", () => choose(character, index));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

async function choose(character, index) {
  const hadFocus = on.next.contains(document.activeElement);
  stop();
  addText(character, "chosen");
  await look();
  if (hadFocus) on.next.querySelectorAll("button")[index]?.focus();
}

function restart() {
  stop();
  text = "";
  on.text.replaceChildren();
  if (on.prompt.value) addText(on.prompt.value, "prompt");
  say("");
  return look();
}

function showValues() {
  for (const name of ["temperature", "top-p"]) on[`${name}-value`].textContent = Number(on[name].value).toFixed(2);
}

function press(event) {
  const isField = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  const isPlain = !(event.ctrlKey || event.metaKey || event.altKey);
  if (event.key === "Escape") stop();
  else if (event.key === "Enter" && event.ctrlKey && !writing) on.settings.requestSubmit();
  else if (!isField && isPlain && /^[1-9]$/.test(event.key)) on.next.querySelectorAll("button")[event.key - 1]?.click();
}

async function start() {
  on.settings.addEventListener("submit", (event) => {
    event.preventDefault();
    if (writing) stop();
    else write();
  });
  on.restart.addEventListener("click", restart);
  on.prompt.addEventListener("change", restart);
  on.model.addEventListener("change", restart);
  for (const name of ["temperature", "top-p"]) on[name].addEventListener("input", showValues);
  document.addEventListener("keydown", press);
  showValues();
  const models = (await (await fetch("v1/models")).json()).data.map(({ id }) => id);
  on.model.append(...models.map((name) => new Option(name)));
  on["model-field"].hidden = models.length === 1;
  document.title = document.querySelector("h1").textContent = models.length === 1 ? models[0] : "charlm";
  await restart();
}

start().catch((error) => say(error.message, true));
