import assert from "node:assert/strict";
import { test } from "node:test";
import { taken, written } from "../js/io.js";
import { check, empty, KEY, merge, NewerError, size, Store, UNREADABLE } from "../js/state.js";

/** A Storage that may fail. @param {Record<string, string>} [items] */
function storage(items = {}) {
  return /** @type {any} */ ({
    items, full: false,
    getItem(/** @type {string} */ key) { return items[key] ?? null; },
    setItem(/** @type {string} */ key, /** @type {string} */ value) {
      if (this.full) throw new DOMException("full", "QuotaExceededError");
      items[key] = value;
    },
    removeItem(/** @type {string} */ key) { delete items[key]; },
  });
}
const review = (/** @type {string} */ at, rating = 3) => ({ at, day: at.slice(0, 10), rating });
const [one, two, three] = ["2027-01-25T08:00:00.000Z", "2027-01-26T08:00:00.000Z", "2027-01-27T08:00:00.000Z"];

test("what one tab does, another tab adds to", () => {
  const shared = storage(), first = new Store(shared), second = new Store(shared);
  first.change((s) => { (s.reviews["V1-13/a"] ??= []).push(review(one)); });
  second.change((s) => { (s.reviews["V1-13/a"] ??= []).push(review(two)); });
  assert.deepEqual(second.state.reviews["V1-13/a"].map((r) => r.at), [one, two]);
  first.refresh();
  assert.deepEqual(first.state, second.state);
});

test("a full store says so, keeps what was done in the page, and writes it when there is room", () => {
  const shared = storage(), store = new Store(shared);
  let told = 0;
  store.subscribe(() => { told += 1; });
  shared.full = true;
  store.change((s) => { s.reviews["V1-13/a"] = [review(one)]; });
  assert.match(store.problem ?? "", /is full.*Export/);
  assert.equal(told, 1);
  store.change((s) => { s.reviews["V1-13/b"] = [review(two)]; });
  assert.equal(size(store.state).reviews, 2);
  shared.full = false;
  store.change((s) => { s.reviews["V1-13/c"] = [review(three)]; });
  assert.equal(store.problem, null);
  assert.equal(size(new Store(shared).state).reviews, 3);
});

test("a browser that keeps nothing is named, and the page still works", () => {
  const store = new Store(null, "SecurityError");
  assert.match(store.problem ?? "", /keeps nothing.*SecurityError/);
  store.change((s) => { s.reviews["V1-13/a"] = [review(one)]; });
  store.change((s) => { s.reviews["V1-13/b"] = [review(two)]; });
  assert.equal(size(store.state).reviews, 2);
});

test("what cannot be read is set aside, not lost", () => {
  const shared = storage({ [KEY]: "{half" }), store = new Store(shared);
  assert.match(store.problem ?? "", /it is not JSON/);
  store.change((s) => { s.reviews["V1-13/a"] = [review(one)]; });
  assert.equal(shared.items[UNREADABLE], "{half");
  assert.equal(size(new Store(shared).state).reviews, 1);
});

test("progress of a newer version is never written over", () => {
  const text = JSON.stringify({ ...empty(), version: 99 }), shared = storage({ [KEY]: text }), store = new Store(shared);
  store.change((s) => { s.reviews["V1-13/a"] = [review(one)]; });
  store.change((s) => { s.reviews["V1-13/b"] = [review(one)]; });
  store.clear();
  assert.equal(shared.items[KEY], text);
  assert.throws(() => check(JSON.parse(text)), NewerError);
});

test("an old version is brought forward step by step, and one without a way is refused", () => {
  const ways = [(/** @type {any} */ old) => ({ ...old, reviews: old.cards }), (/** @type {any} */ old) => ({ ...old, settings: { newADay: old.settings.daily } })];
  const made = check({ version: 0, answers: {}, cards: { "V1-13/a": [review(one)] }, settings: { daily: 5 } }, ways, 2);
  assert.deepEqual(made, { version: 2, answers: {}, reviews: { "V1-13/a": [review(one)] }, settings: { newADay: 5 } });
  assert.throws(() => check({ version: 0 }, [], 1), /cannot bring/);
});

test("damaged files are refused by what is wrong with them", () => {
  for (const [value, why] of /** @type {[any, RegExp][]} */ ([
    [null, /no progress/], [[], /no progress/], [{ version: 1 }, /answers are missing/], [{ ...empty(), reviews: { x: [] } }, /unknown name/],
    [{ ...empty(), reviews: { "V1-13/a": [{ at: one, day: "2027-01-25", rating: 5 }] } }, /V1-13\/a are damaged/],
    [{ ...empty(), answers: { "V1-13/a": [{ at: "yesterday", given: [0], right: true }] } }, /damaged/],
    [{ ...empty(), answers: { __proto__: null, "V1-13/__proto__": [] } }, /unknown name/]])) assert.throws(() => check(value), why);
});

test("two states together lose nothing, whichever comes first", () => {
  const a = { ...empty(), reviews: { "V1-13/a": [review(one), review(three)] }, answers: { "V1-13/q": [{ at: one, given: [1], right: false }] } };
  const b = { ...empty(), reviews: { "V1-13/a": [review(one), review(two)], "V2-05/b": [review(two)] } };
  assert.deepEqual(merge(a, b), merge(b, a));
  assert.deepEqual(merge(a, b).reviews["V1-13/a"].map((r) => r.at), [one, two, three]);
  assert.deepEqual(merge(a, a), a);
});

test("a model of one's own neither leaves in a file nor comes in with one", () => {
  const endpoint = { url: "http://localhost:1/v1", model: "m" }, state = { ...empty(), settings: { newADay: 5, endpoint } };
  assert.deepEqual(JSON.parse(written(state)).settings, { newADay: 5 });
  assert.deepEqual(taken(JSON.stringify(state), empty())[0].settings, { newADay: 5 });
  assert.deepEqual(taken(written(empty()), state)[0].settings, state.settings);
});

test("a file that is exported and taken again changes nothing; a damaged one is refused", () => {
  const state = { ...empty(), reviews: { "V1-13/a": [review(one)] } };
  assert.deepEqual(taken(written(state), empty()), [state, "0 answers and 1 review came in; nothing that was here is lost."]);
  assert.match(taken(written(state), state)[1], /here already/);
  assert.throws(() => taken("{", state), /not JSON/);
});
