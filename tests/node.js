/* Opens pages and runs scripts in them: a line of JSON for each request, and one for each answer.

   {page, scripts} opens a page, the nodes of which dom.js describes; {body, values} runs the body of an async function with `values`. */
"use strict";

const vm = require("node:vm");
const { openPage } = require("./dom.js");

let page = null;
const failures = [];
process.on("unhandledRejection", (error) => failures.push(error));

async function answer(request) {
  if (request.page) {
    page = openPage(request.page);
    for (const script of request.scripts) vm.runInContext(script, page);
    return null;
  }
  const value = await vm.runInContext(`(async (values) => { ${request.body} })`, page)(request.values);
  await new Promise(setImmediate);  // a promise that nobody waited for may have failed
  if (failures.length) throw failures.splice(0)[0];
  return value ?? null;
}

async function main() {
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    const reply = await answer(JSON.parse(line)).then((value) => JSON.stringify({ value }))
      .catch((error) => JSON.stringify({ error: String(error?.stack ?? error) }));
    process.stdout.write(`${reply}\n`);
  }
}

main();
