/**
 * A fake of an OpenAI-compatible endpoint, for tests only: no model, it says what its `model` is called after. Run it, and it prints its
 * address; imported, `fake()` starts it in this process.
 */
import { createServer } from "node:http";

export const KEY = "fake-key";
const TEXT = {
  good: ["Waiting grows with one over the spare capacity [P1]. ", "Pooling helps", " [P2, P1]."],
  unknown: ["Waiting grows [P1], and so do prices [P9]."],
  uncited: ["Waiting grows."],
  script: ["<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> [P1]"],
};

/** @param {{cors?: boolean}} [options] @returns {Promise<{url: string, requests: any[], close: () => Promise<void>}>} */
export async function fake({ cors = true } = {}) {
  /** @type {any[]} */
  const requests = [];
  const server = createServer(async (request, response) => {
    const allow = cors ? { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" } : {};
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "OPTIONS") return void response.writeHead(204, allow).end();
    const asked = JSON.parse(body);
    requests.push({ path: request.url, headers: request.headers, asked });
    const refuse = (/** @type {number} */ status, /** @type {string} */ message) => response.writeHead(status, { ...allow, "Content-Type": "application/json" }).end(JSON.stringify({ error: { message } }));
    if (request.headers.authorization !== `Bearer ${KEY}`) return void refuse(401, "wrong key");
    const what = /** @type {string} */ (asked.model);
    if (what === "busy") return void refuse(429, "slow down");
    if (what === "broken") return void refuse(500, "it broke");
    if (what === "page") return void response.writeHead(200, { ...allow, "Content-Type": "text/html" }).end("<h1>Hello</h1>");
    if (what === "whole") return void response.writeHead(200, { ...allow, "Content-Type": "application/json" }).end(JSON.stringify({ choices: [{ message: { content: "At once [P1]." } }] }));
    if (!(what in TEXT) && !["silent", "endless", "cut"].includes(what)) return void refuse(404, `no model ${what}`);
    response.writeHead(200, { ...allow, "Content-Type": "text/event-stream; charset=utf-8" });
    const send = (/** @type {any} */ delta, /** @type {any} */ finish = null) => response.write(`data: ${JSON.stringify({ choices: [{ delta, finish_reason: finish }] })}\r\n\r\n`);
    response.write(": a comment\n\n");
    send({ role: "assistant" });
    if (what === "silent") return;
    if (what === "endless") {
      const timer = setInterval(() => send({ content: "and on " }), 20);
      response.on("close", () => clearInterval(timer));
      return;
    }
    for (const text of TEXT[/** @type {keyof TEXT} */ (what)] ?? ["Half an ans"]) send({ content: text });
    if (what === "cut") return void response.end();
    send({}, "stop");
    response.end("data: [DONE]\n\n");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}/v1`, requests, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(() => resolve(undefined)); }) };
}

if (process.argv[1]?.endsWith("fake_endpoint.js")) {
  const [open, shut] = [await fake(), await fake({ cors: false })];
  console.log(JSON.stringify({ open: open.url, shut: shut.url, key: KEY }));
}
