"use strict";
const digits = (value) => Number(value.toPrecision(4)).toString().replace("-", "\u2212");

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// The Tab key moves to a passage; the arrow keys and the mouse move through its characters.
function walk(passage, show, leave) {
  const spans = passage.children;
  let now = -1;
  function go(index, fromKeyboard) {
    if (index < 0 || index >= spans.length) return;
    now = index;
    if (fromKeyboard) scrollTo(spans[now]);
    show(now);
  }
  function scrollTo(span) {  // scrolls the passage, not the page
    const box = passage.getBoundingClientRect(), place = span.getBoundingClientRect();
    if (place.top < box.top) passage.scrollTop -= box.top - place.top + 20;
    if (place.bottom > box.bottom) passage.scrollTop += place.bottom - box.bottom + 20;
  }
  function vertical(direction) {  // moves to the nearest character of the line above or below
    const from = spans[now].getBoundingClientRect();
    for (let i = now + direction, best = -1, line = null; ; i += direction) {
      const place = spans[i] && spans[i].getBoundingClientRect();
      if (!place || (line !== null && Math.abs(place.top - line) > 2)) return best < 0 ? now : best;
      if (Math.abs(place.top - from.top) <= 2) continue;
      line = place.top;
      if (best < 0 || Math.abs(place.left - from.left) < Math.abs(spans[best].getBoundingClientRect().left - from.left)) best = i;
    }
  }
  const moves = {
    ArrowRight: () => now + 1, ArrowLeft: () => now - 1, ArrowDown: () => vertical(1), ArrowUp: () => vertical(-1),
    Home: () => 0, End: () => spans.length - 1,
  };
  passage.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(now < 0 ? 0 : moves[event.key](), true);
  });
  passage.addEventListener("focus", () => { if (now < 0 && passage.matches(":focus-visible")) go(0, true); });
  const point = (event) => {
    const span = event.target.closest("span");
    if (span) go(Array.prototype.indexOf.call(spans, span), false);
  };
  passage.addEventListener("mouseover", point);
  passage.addEventListener("click", point);
  const clear = () => { now = -1; leave(); };
  passage.addEventListener("mouseleave", () => { if (document.activeElement !== passage) clear(); });
  passage.addEventListener("blur", clear);
}

function bar(label, share, isTrue) {
  const row = element("div", undefined, isTrue ? "bar true" : "bar");
  const length = element("i");
  length.style.width = 100 * share + "%";
  const track = element("span");
  track.append(length);
  row.append(element("b", label), track, element("span", digits(share)));
  return row;
}

function reader(view) {
  const data = JSON.parse(view.querySelector("script").textContent), panel = view.querySelector(".panel");
  const passage = view.querySelector(".passage[tabindex]"), help = panel.textContent;
  const colours = Array.from(passage.children, (span) => span.className);
  function paint(lit, at) {
    for (let i = 0; i < passage.children.length; i++) {
      const lag = at - i - 1, span = passage.children[i];
      const level = lit && lag >= 0 && lag < lit.length ? lit[lag] : "0";
      span.className = lit ? "cold l" + level : colours[i];
      if (i === at) span.classList.add("here");
    }
  }
  function show(i) {
    paint(data.influence[i], i);
    panel.replaceChildren();
    const nats = data.nats[i], came = data.ids[i];
    // Character 1 is the first character of the text, which is not predicted.
    panel.append(element("p", `Character ${(i + 2).toLocaleString("en")}, ${data.labels[came]}: ${digits(nats)} nats, ` +
      `probability ${digits(Math.exp(-nats))}. The network expected:`));
    data.likeliest[i].forEach((id, k) => panel.append(bar(data.labels[id], data.probabilities[i][k], id === came)));
  }
  walk(passage, show, () => { paint(null, -1); panel.textContent = help; });
}

document.querySelectorAll(".reader").forEach(reader);
