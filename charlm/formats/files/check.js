const text = (id) => document.getElementById(id).textContent;
const spec = JSON.parse(text("network")), network = buildNetwork(spec, text("weights"));
const state = network.zeroState(), ids = $ids, logits = new Float32Array(ids.length * network.logits.length);
ids.forEach((id, time) => logits.set(network.step(id, state), time * network.logits.length));
let binary = "";
for (const byte of new Uint8Array(logits.buffer)) binary += String.fromCharCode(byte);
document.body.replaceChildren(btoa(binary));
