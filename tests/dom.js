/* A stand-in for the document of a browser: no more than the pages of charlm use.

   Time passes only when a script waits or looks at the clock, so that no test has to sleep. */
"use strict";

const vm = require("node:vm");

const BOOLEANS = ["hidden", "disabled", "required", "selected"];
const STAY_AT_THEIR_TARGET = ["focus", "blur", "mouseleave", "pointerleave"];

class Element {
  constructor(document, name) {
    Object.assign(this, { document, tagName: name.toUpperCase(), attributes: {}, listeners: {}, style: {}, className: "" });
    Object.assign(this, { nodes: [], children: [], parentNode: null, chosen: null, scrollTop: 0, clientHeight: 50, clientWidth: 220 });
    this.place = { left: 0, top: 0, bottom: 0 };
    this.dataset = new Proxy({}, { set: (data, key, value) => Boolean((data[key] = String(value))) || true });
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
    if (name === "class") this.className = value;
    else if (name.startsWith("data-")) this.dataset[name.slice(5)] = value;
    else this[name] = BOOLEANS.includes(name) || value;
  }

  append(...nodes) {
    for (const node of nodes) {
      if (node.tagName === "#FRAGMENT") {
        this.append(...node.nodes);
        node.replaceChildren();
        continue;
      }
      this.nodes.push(node);
      if (!(node instanceof Element)) continue;
      this.children.push(node);
      node.parentNode = this;
    }
  }

  replaceChildren(...nodes) {
    this.nodes.length = this.children.length = 0;
    this.chosen = null;
    this.append(...nodes);
  }

  remove() {
    for (const list of [this.parentNode.nodes, this.parentNode.children]) list.splice(list.indexOf(this), 1);
    this.parentNode = null;
  }

  get firstChild() { return this.nodes[0]; }
  get lastChild() { return this.nodes.at(-1); }
  get textContent() { return this.nodes.map((node) => node.textContent ?? node).join(""); }
  set textContent(text) { this.replaceChildren(...(text === "" ? [] : [String(text)])); }
  get scrollHeight() { return this.children.length; }

  get classList() {
    const names = new Set(this.className.split(" ").filter(Boolean));
    const change = (action) => (name) => {
      names[action](name);
      this.className = [...names].join(" ");
    };
    const add = change("add"), remove = change("delete");
    return { add, remove, toggle: (name, isOn) => (isOn ? add(name) : remove(name)) };
  }

  // Fields of a form

  get value() {
    if (this.tagName === "TEXTAREA") return this.chosen ?? this.textContent;
    if (this.tagName !== "SELECT") return this.chosen ?? "";
    const first = this.children.find((option) => option.selected) ?? this.children[0];
    return this.chosen ?? first?.value ?? "";
  }

  set value(value) {
    const { type, tagName } = this;
    if (type === "range") value = Math.min(Math.max(value, this.min), this.max);
    if (tagName === "SELECT" && !this.children.some((option) => option.value === String(value))) value = "";
    this.chosen = String(value);
  }

  get validity() {
    const { value, min = -Infinity, max = Infinity } = this;
    let valid = !(this.required && value === "");
    if (this.type === "number" && value !== "") valid = Number.isInteger(Number(value)) && value >= Number(min) && value <= Number(max);
    if (this.pattern) valid = new RegExp(`^(?:${this.pattern})$`, "u").test(value);
    return { valid };
  }

  reportValidity() { return this.querySelectorAll("input").every((field) => field.validity.valid); }
  requestSubmit() { if (this.reportValidity()) this.dispatch("submit"); }

  click() {
    if (this.disabled) return;
    this.dispatch("click");
    if (this.type === "submit") this.closest("form").requestSubmit();
  }

  focus(isVisible = true) {
    this.document.activeElement?.dispatch("blur");
    Object.assign(this.document, { activeElement: this, isFocusVisible: isVisible });
    this.dispatch("focus");
  }

  // Events and selectors

  addEventListener(type, listener) { (this.listeners[type] ??= []).push(listener); }

  /** Calls the listeners of the element and those around it; returns the event. */
  dispatch(type, fields = {}) {
    const event = { type, target: this, isPrevented: false, preventDefault() { this.isPrevented = true; }, ...fields };
    for (let at = this; at; at = STAY_AT_THEIR_TARGET.includes(type) ? null : at.parentNode)
      for (const listener of at.listeners[type] ?? []) listener(event);
    return event;
  }

  /** Tells whether a selector such as #next, button or .passage[tabindex] describes the element. */
  matches(selector) {
    if (selector === ":focus-visible") return this.document.activeElement === this && this.document.isFocusVisible;
    return selector.match(/[#.[]?[\w-]+/g).every((part) => {
      const name = part.slice(1);
      if (part[0] === "#") return this.id === name;
      if (part[0] === ".") return this.className.split(" ").includes(name);
      return part[0] === "[" ? name in this.attributes : this.tagName === part.toUpperCase();
    });
  }

  closest(selector) { return this.matches(selector) ? this : this.parentNode?.closest(selector) ?? null; }

  querySelectorAll(selector) {
    const [first, ...rest] = selector.split(" ");
    const inside = this.children.flatMap((child) => [...(child.matches(first) ? [child] : []), ...child.querySelectorAll(first)]);
    return rest.length ? inside.flatMap((element) => element.querySelectorAll(rest.join(" "))) : inside;
  }

  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }

  // Places and pictures

  getBoundingClientRect() { return this.place; }
  scrollIntoView() { this.document.inView = this; }

  /** Returns a context that keeps what is drawn in `marks`. */
  getContext() {
    const marks = (this.marks = []);
    const draw = (kind) => function (...box) {
      marks.push({ kind, box, fill: this.fillStyle, stroke: this.strokeStyle, alpha: this.globalAlpha });
    };
    return { fillRect: draw("fill"), strokeRect: draw("frame"), scale: draw("scale") };
  }
}

/** Returns the globals of a page: its elements are lists [name, attributes, children], its texts are strings. */
function openPage(nodes) {
  const document = new Element(null, "#document");
  const createElement = (name) => new Element(document, name);
  const build = (node) => {
    if (typeof node === "string") return node;
    const [name, attributes, children] = node, element = createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.map(build));
    return element;
  };
  document.append(...nodes.map(build));
  Object.assign(document, {
    documentElement: document.querySelector("html"),
    body: document.querySelector("body"),
    activeElement: null,
    createElement,
    createDocumentFragment: () => createElement("#fragment"),
    getElementById: (id) => document.querySelector(`#${id}`),
  });
  const clock = { now: 0, tick: 1 };
  const after = (milliseconds, action) => {
    clock.now += Math.max(0, milliseconds);
    setImmediate(action);
  };
  const listeners = {};
  const globals = {
    document, clock, listeners, atob, btoa,
    drawnSeed: 7,
    devicePixelRatio: 2,
    performance: { now: () => (clock.now += clock.tick) },
    crypto: { getRandomValues: (values) => values.fill(globals.drawnSeed) },
    setTimeout: (action, milliseconds) => after(milliseconds, action),
    requestAnimationFrame: (action) => after(16, action),
    getComputedStyle: () => ({ getPropertyValue: (name) => name }),
    matchMedia: (query) => ({ addEventListener: (_, listener) => (listeners[query] = listener) }),
    addEventListener: (type, listener) => (listeners[type] = listener),
    Option: function (text, value) { return build(["option", { value: String(value) }, [text]]); },
  };
  globals.window = globals;
  return vm.createContext(globals);
}

module.exports = { openPage };
