// A text whose characters are coloured by surprise: the levels of the colours, their legend, and the keys.
"use strict";
const SURPRISE_NATS = [0.7, 1.6, 3, 5];  // limits of the colours l1 to l4: probabilities of 50%, 20%, 5% and 0.7%
const SURPRISE_LABELS = ["50% or more", "< 50%", "< 20%", "< 5%", "< 0.7%"];

/** Returns the class of a character; null = the first character, which is not predicted. */
function surpriseClass(nats) {
  const level = nats === null ? 0 : SURPRISE_NATS.filter((limit) => nats >= limit).length;
  return level ? `l${level}` : "";
}

function drawLegend(legend) {
  legend.textContent = "Background: the probability that the model gave each character.";
  SURPRISE_LABELS.forEach((label, level) => {
    const sample = document.createElement("i");
    if (level) sample.className = `l${level}`;
    sample.textContent = label;
    legend.append(sample);
  });
}

/** Returns the index of the character that a key leads to, or undefined for other keys. */
function placeAfterKey(key, spans, now) {
  const steps = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: spans.length - 1 };
  if (key in steps) return Math.max(0, Math.min(spans.length - 1, steps[key]));
  if (key === "ArrowDown") return placeInLine(spans, now, 1);
  return key === "ArrowUp" ? placeInLine(spans, now, -1) : undefined;
}

/** Returns the index of the nearest character in the line above (-1) or below (1). */
function placeInLine(spans, now, direction) {
  if (!spans[now]) return now;
  const from = spans[now].getBoundingClientRect();
  let best = now, line = null, least = Infinity;
  for (let i = now + direction; spans[i]; i += direction) {
    const place = spans[i].getBoundingClientRect();
    if (line === null && Math.abs(place.top - from.top) > 2) line = place.top;
    if (line !== null && Math.abs(place.top - line) > 2) break;
    const distance = Math.abs(place.left - from.left);
    if (line !== null && distance < least) [best, least] = [i, distance];
  }
  return best;
}
