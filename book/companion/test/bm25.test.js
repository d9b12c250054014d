import assert from "node:assert/strict";
import { test } from "node:test";
import { Book, sentences, stem, words } from "../js/bm25.js";

/** @param {Partial<import("../js/bm25.js").Index>} [more] @returns {import("../js/bm25.js").Index} */
const index = (more) => ({
  version: 2, language: "en", chapters: { "vol1/13_serving": { number: "V1-13", title: "Serving" } },
  passages: [
    { id: "vol1/13_serving#line/1", heading: "The line", text: "A busy server makes requests wait. Utilization decides how long. A second server shortens the line." },
    { id: "vol1/13_serving#cache/1", heading: "Memory", text: "Keys and values are kept for each token. They fill the memory. Then the batch cannot grow." },
    { id: "vol1/13_serving#empty/1", heading: "Nothing", text: "Unrelated words about another matter entirely, such as tomatoes." },
    { id: "glossary#term-SLO/1", heading: "service-level objective (SLO)", text: "service-level objective (SLO): a bound on a quantile of latency" },
  ],
  terms: [{ id: "glossary#term-SLO/1", term: "service-level objective (SLO)", meaning: "a bound on a quantile of latency", page: "vol1/13_serving" }],
  asked: { "vol1/13_serving#line": ["Why is the delay so big?"] }, names: [["SLO", "service-level objective"], ["GPU", "accelerator"]],
  stopwords: ["why", "is", "the", "so", "how", "do", "what"], parameters: { k1: 1.2, b: 0.75, floor: 0.6, phrase: 0.6, other: 0.5, together: 0.3, threshold: 1.5, answers: 3, share: 0.35 }, ...more });

test("words are lower case, without possessives; scripts without spaces give pairs", () => {
  assert.deepEqual(words("Little’s law: T₉₉ = 5.4 ms, key-value, naïve Ｇｐｕ"), ["little", "law", "t99", "5", "4", "ms", "key", "value", "naïve", "gpu"]);
  assert.deepEqual(words("待ち行列のGPU温度"), ["待ち", "ち行", "行列", "列の", "gpu", "温度"]);
  assert.deepEqual(words("지연 시간"), ["지연", "시간"]);
  assert.deepEqual(words("… — !"), []);
});

test("stems bring forms of a word together", () => {
  assert.equal(stem("batching"), stem("batches"));
  assert.equal(stem("assembly"), "assembl");
  assert.equal(stem("V100".toLowerCase()), "v100");
});

test("sentences end where one ends, not at each point", () => {
  assert.deepEqual(sentences("It takes 5.4 ms. “Fast enough.” Then (see 2) e.g. this? 是的。不是。"), ["It takes 5.4 ms.", "“Fast enough.”", "Then (see 2) e.g. this?", "是的。", "不是。"]);
});

test("the passage that answers comes first, with the sentences that do", () => {
  const found = new Book(index()).ask("How long do requests wait at a busy server?");
  assert.equal(found.answered, true);
  assert.equal(found.answers[0].id, "vol1/13_serving#line/1");
  assert.equal(found.answers[0].chapter, "V1-13 Serving");
  assert.match(found.answers[0].text, /^A busy server makes requests wait\. /);
});

test("a section is found by a question that it is known to answer", () => {
  const book = new Book(index()), silent = new Book(index({ asked: {} }));
  assert.equal(book.rank("delay, server, big")[0].coverage, 1);
  assert.ok(silent.rank("delay, server, big")[0].coverage < 1);
});

test("a short name finds the long one and its definition, which stays out of other questions", () => {
  const book = new Book(index());
  assert.equal(book.ask("What is the SLO?").answers[0].id, "glossary#term-SLO/1");
  assert.ok(book.rank("quantile of requests").every((f) => !book.defined.has(f.i)));
});

test("several words that are one name count as one more word", () => {
  const book = new Book(index());
  assert.deepEqual(book.informative("What is the service-level objective, so?"), ["servic", "level", "object", "servic level", "level object", "servic level object"].filter((t) => !t.includes(" ") || book.phrases.has(t)));
  assert.ok(book.phrases.has("servic level object") && !book.phrases.has("servic level"));
});

test("what the book does not say is refused, with the words it never uses", () => {
  const found = new Book(index()).ask("How do I bake bread for a busy family?");
  assert.deepEqual([found.answered, found.answers.length], [false, 0]);
  assert.deepEqual(found.unknown, ["bake", "bread", "family"]);
  assert.equal(new Book(index()).ask("").answered, false);
  assert.equal(new Book(index()).ask("why is the so").answered, false);
});

test("key terms in a text, the longest first", () => assert.deepEqual(new Book(index()).termsIn("Every service-level objective has a price").map((t) => t.id), ["glossary#term-SLO/1"]));

test("an index of another version is refused", () => assert.throws(() => new Book(index({ version: 1 })), /version 1, wants 2/));
