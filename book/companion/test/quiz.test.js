import assert from "node:assert/strict";
import { test } from "node:test";
import { deck, queue } from "../js/deck.js";
import { bySection, forecast, summary } from "../js/dashboard.js";
import { rows, standing } from "../js/graph.js";
import { judge, read } from "../js/number.js";
import { judgeChoices } from "../js/quiz.js";
import { empty } from "../js/state.js";

const number = { id: "V1-13/n", section: "s", kind: /** @type {const} */ ("number"), level: 2, ask: "?", value: 24, tolerance: 0.02, unit: "ms", shown: "24 ms",
  units: { "": 1, ms: 1, s: 1000, us: 0.001 }, why: "Because.", mistakes: [{ value: 12, why: "Half of it." }] };
const many = { id: "V1-13/m", section: "s", kind: /** @type {const} */ ("many"), level: 1, ask: "?", choices: [
  { n: 2, text: "c", right: true, why: "yes" }, { n: 0, text: "a", right: true, why: "yes" }, { n: 1, text: "b", right: false, why: "no" }] };

test("numbers are read as people write them", () => {
  for (const [text, value, unit] of /** @type {[string, number, string][]} */ ([["12.5 ms", 12.5, "ms"], ["12,5", 12.5, ""], ["1,234.5 B", 1234.5, "B"],
    ["1 234", 1234, ""], ["−3", -3, ""], ["3e8", 3e8, ""], ["3×10^8 FLOP/s", 3e8, "FLOP/s"], [".5", 0.5, ""], ["50%", 50, "%"], ["1,234", 1234, ""]])) {
    assert.deepEqual(read(text), { value, unit }, text);
  }
  for (const text of ["", "abc", "ms 3", "--3", "1e999"]) assert.equal(read(text), null, text);
});

test("a right number is right in any of its units, and within its tolerance", () => {
  for (const text of ["24", "24 ms", "0.024 s", "24000us", "24.4", "23.6"]) assert.equal(judge(number, text).right, true, text);
  for (const text of ["24.6", "23.4", "24 s"]) assert.equal(judge(number, text).right, false, text);
});

test("a wrong number is told what it is", () => {
  assert.equal(judge(number, "12").why, "Half of it.");
  assert.match(judge(number, "-24").why, /sign/);
  assert.match(judge(number, "0.024").why, /factor of 1,000/);
  assert.match(judge(number, "27").why, /Close, and too large/);
  assert.match(judge(number, "7").why, /too small by more than a factor of three/);
});

test("what is no number in a known unit is no attempt", () => {
  for (const text of ["", "many", "24 kg"]) assert.equal(judge(number, text).read, false, text);
  assert.match(judge(number, "24 kg").why, /“kg” does not fit: the answer is in ms/);
});

test("of several right choices all have to be chosen, and no other", () => {
  assert.deepEqual(judgeChoices(many, [0, 2]), { right: true, words: "Right." });
  assert.deepEqual(judgeChoices(many, [0, 1]), { right: false, words: "1 choice too many, 1 choice missing." });
});

const at = (/** @type {number} */ day, hour = 12) => new Date(2027, 0, day, hour);
const review = (/** @type {Date} */ when, rating = 3) => ({ at: when.toISOString(), day: `2027-01-${when.getDate()}`, rating });

test("a question answered wrong is a card from then on, before the chapter's own", () => {
  const chapter = { chapter: "V1-13", title: "", file: "", sections: [], questions: [number, many], cards: [{ id: "V1-13/c", section: "s", front: "f", back: "b" }] };
  const state = { ...empty(), answers: { "V1-13/n": [{ at: at(20).toISOString(), given: "1", right: false }, { at: at(21).toISOString(), given: "24", right: true }] } };
  assert.deepEqual(deck(chapter, state).map((c) => c.id), ["V1-13/n", "V1-13/c"]);
  assert.match(deck(chapter, state)[0].back, /24 ms.*Because/);
  assert.deepEqual(deck(chapter, empty()).map((c) => c.id), ["V1-13/c"]);
});

test("due cards come first, the longest overdue before others, and new ones only as far as the day's number", () => {
  const cards = Array.from({ length: 15 }, (_, i) => ({ id: `V1-13/c${i}` }));
  const state = { ...empty(), reviews: { "V1-13/c3": [review(at(22))], "V1-13/c1": [review(at(20))], "V1-13/c5": [review(at(25))] } };
  const found = queue(cards, state, at(25, 13));
  assert.deepEqual(found.due.map((c) => c.id), ["V1-13/c1", "V1-13/c3"]);
  assert.equal(found.fresh.length, 9, "one of ten was begun today");
  assert.equal(found.left, 3);
  assert.equal(queue(cards, state, at(25, 13), 5).fresh.length, 12);
});

const chapter = (/** @type {string} */ n, /** @type {string[]} */ requires, written = true) => ({ number: n, title: n, file: n, volume: 1, requires, written, terms: [], cards: [`${n}/c`],
  sections: [{ id: "s", title: "1. S", questions: [`${n}/a`, `${n}/b`] }, { id: "t", title: "2. T", questions: [`${n}/d`] }] });
const course = { chapters: [chapter("V1-01", []), chapter("V1-02", ["V1-01"], false), chapter("V1-03", ["V1-01"]), chapter("V1-04", ["V1-03"])] };
const answer = (right = true) => ({ at: at(20).toISOString(), given: [0], right });

test("the state of a chapter is one of five words", () => {
  const words = (/** @type {Record<string, any>} */ answers) => standing(course.chapters[0], { ...empty(), answers }, at(25)).word;
  assert.equal(standing(course.chapters[1], empty(), at(25)).word, "outline");
  assert.equal(words({}), "not begun");
  assert.equal(words({ "V1-01/a": [answer()] }), "begun");
  assert.equal(words({ "V1-01/a": [answer()], "V1-01/b": [answer(false)], "V1-01/d": [answer()] }), "all answered");
  assert.equal(words({ "V1-01/a": [answer()], "V1-01/b": [answer(false), answer()], "V1-01/d": [answer()] }), "all right");
});

test("each chapter of the map stands below what it builds on", () => {
  assert.deepEqual(rows(course.chapters).map((row) => row.map((c) => c.number)), [["V1-01"], ["V1-02", "V1-03"], ["V1-04"]]);
});

test("the weakest section stands first, and the first try counts", () => {
  const state = { ...empty(), answers: { "V1-01/a": [answer(false), answer()], "V1-01/b": [answer()], "V1-01/d": [answer()] } };
  assert.deepEqual(bySection(course, state).map((r) => [r.section.id, r.answered, r.first, r.now]), [["s", 2, 1, 2], ["t", 1, 1, 1]]);
  assert.match(summary(course, state, at(25)), /answered 3 of 12 questions, 2 of them right at the first try\. You have met no card yet/);
});

test("the forecast counts each card once, overdue ones today", () => {
  const state = { ...empty(), reviews: { "V1-01/c": [review(at(20))], "V1-03/c": [review(at(25))] } };
  assert.deepEqual(forecast(state, at(25, 13)).slice(0, 3).map((d) => d.count), [1, 1, 0]);
});
