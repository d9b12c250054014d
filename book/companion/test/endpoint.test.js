import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { address, cited, EndpointError, messages, stream } from "../js/endpoint.js";
import { fake, KEY } from "./fake_endpoint.js";

/** @type {Awaited<ReturnType<typeof fake>>} */
let server;
before(async () => { server = await fake(); });
after(() => server.close());

const passages = ["one", "two"].map((id) => ({ id, heading: `Heading ${id}`, chapter: "V1-13 Model Serving", whole: `Text of ${id}.` }));

/** @param {string} model @param {Record<string, any>} [more] */
async function answer(model, { key = KEY, url = server.url, ...options } = {}) {
  let all = "";
  for await (const part of stream({ url, model, key }, messages("Why?", passages), options)) all += part;
  return all;
}

test("an answer arrives in parts, and the endpoint got the question, the passages with their names and the key", async () => {
  assert.equal(await answer("good"), "Waiting grows with one over the spare capacity [P1]. Pooling helps [P2, P1].");
  const { path, headers, asked } = server.requests.at(-1);
  assert.equal(path, "/v1/chat/completions");
  assert.equal(headers.authorization, `Bearer ${KEY}`);
  assert.equal(asked.stream, true);
  assert.match(asked.messages[1].content, /\[P1\] V1-13 Model Serving, Heading one\nText of one\.\n\n\[P2\].*\n\nQuestion: Why\?$/s);
});

test("an endpoint that does not stream is understood as well", async () => assert.equal(await answer("whole"), "At once [P1]."));

for (const [model, options, words] of /** @type {[string, any, RegExp][]} */ ([
  ["good", { key: "another" }, /does not accept this key \(401\).*wrong key/s],
  ["nothing", {}, /no model nothing \(404\)/],
  ["busy", {}, /\(429\)/],
  ["broken", {}, /failed \(500\)/],
  ["page", {}, /not in the OpenAI format/],
  ["cut", {}, /broke off/],
  ["silent", { silence: 150 }, /silent for 0\.15 s/],
  ["good", { url: "http://127.0.0.1:9/v1" }, /cannot be reached.*CORS.*connect-src/s],
  ["good", { url: "http://example.org/v1" }, /unencrypted/],
  ["good", { url: "localhost" }, /is no address/],
  ["  ", {}, /Name the model/],
])) {
  test(`trouble is a sentence: ${model} ${JSON.stringify(options)}`, () => assert.rejects(answer(model, options), (error) => error instanceof EndpointError && words.test(error.message)));
}

test("stop ends an answer that never ends, without an error", async () => {
  const stop = new AbortController();
  let parts = 0;
  for await (const _ of stream({ url: server.url, model: "endless", key: KEY }, messages("Why?", passages), { signal: stop.signal })) if (++parts === 3) stop.abort();
  assert.equal(parts, 3);
});

test("addresses are completed, never weakened", () => {
  for (const typed of ["http://localhost:11434/v1", "http://localhost:11434/v1/", " http://localhost:11434/v1/chat/completions "]) assert.equal(address(typed), "http://localhost:11434/v1/chat/completions");
  assert.equal(address("https://models.example.edu/v1?version=2"), "https://models.example.edu/v1/chat/completions?version=2");
  for (const typed of ["http://models.example.edu/v1", "ftp://localhost/", "https://me:secret@models.example.edu/v1", "javascript:alert(1)", ""]) assert.throws(() => address(typed), EndpointError);
});

test("a citation leads to the passage that was sent, and to nothing else", () => {
  const known = cited("A [P1]. B [P2, P1] C [P1][P2].", passages);
  assert.deepEqual(known.parts.map((p) => ("text" in p ? p.text : p.passage?.id)), ["A ", "one", ". B ", "two", "one", " C ", "one", "two", "."]);
  assert.deepEqual([known.verified, known.unverified], [5, []]);
  const unknown = cited("A [P3] [P0] [x] [1].", passages);
  assert.deepEqual([unknown.verified, unknown.unverified], [0, ["P3", "P0"]]);
  assert.deepEqual(cited("", passages), { parts: [], verified: 0, unverified: [] });
});
