const digits = (value) => Number(value.toPrecision(4)).toString().replace("-", "\u2212");

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
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

// The Tab key moves to the passage; the arrow keys and the mouse move through its characters.
function reader(view) {
  const data = JSON.parse(view.querySelector("script").textContent), panel = view.querySelector(".panel");
  const passage = view.querySelector(".passage"), help = panel.firstChild, spans = passage.children;
  const colours = Array.from(spans, (span) => span.className);
  let now = -1;
  drawLegend(view.querySelector(".legend"));
  function paint(influence, at) {
    for (let i = 0; i < spans.length; i++) {
      const level = influence && (influence[at - i - 1] ?? "0");
      spans[i].className = influence ? `influence l${level}` : colours[i];
      if (i === at) spans[i].classList.add("here");
    }
  }
  function show(i) {
    if (!spans[i]) return;
    now = i;
    paint(data.influence[i], i);
    const nats = data.nats[i], came = data.ids[i];
    // Character 1 is the first character of the text, which is not predicted.
    panel.replaceChildren(element("p", `Character ${(i + 2).toLocaleString("en")}, ${data.labels[came]}: ${digits(nats)} nats, ` +
      `probability ${digits(Math.exp(-nats))}. The network expected:`));
    data.likeliest[i].forEach((id, k) => panel.append(bar(data.labels[id], data.probabilities[i][k], id === came)));
  }
  function clear() {
    now = -1;
    paint(null, -1);
    panel.replaceChildren(help);
  }
  function point(event) {
    const span = event.target.closest("span");
    if (span) show(Array.prototype.indexOf.call(spans, span));
  }
  passage.addEventListener("keydown", (event) => {
    const next = placeAfterKey(event.key, spans, Math.max(now, 0)), goal = now < 0 ? 0 : next;
    if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(goal);
    spans[goal].scrollIntoView({ block: "nearest" });
  });
  passage.addEventListener("focus", () => { if (now < 0 && passage.matches(":focus-visible")) show(0); });
  passage.addEventListener("mouseover", point);
  passage.addEventListener("click", point);
  passage.addEventListener("mouseleave", () => { if (document.activeElement !== passage) clear(); });
  passage.addEventListener("blur", clear);
}

document.querySelectorAll(".reader").forEach(reader);
