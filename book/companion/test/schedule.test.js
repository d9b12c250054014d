import assert from "node:assert/strict";
import { test } from "node:test";
import { addDays, dayOf, dueDay, isDue, preview, replay, told } from "../js/schedule.js";

/** @param {string} at @param {number} rating */
const review = (at, rating) => ({ at, day: at.slice(0, 10), rating });

test("a new card rated Good comes back after one day, and then the model takes over", () => {
  const first = review("2027-01-25T20:00:00.000Z", 3);
  assert.equal(replay([first])?.day, "2027-01-26");
  const second = replay([first, review("2027-01-26T07:00:00.000Z", 3)]);
  assert.equal(second?.day, "2027-02-02");
  assert.equal(replay([]), null);
});

test("below a day a card is due at a minute, from a day on at a date", () => {
  const again = replay([review("2027-01-25T20:00:00.000Z", 1)]);
  assert.equal(again?.at, Date.parse("2027-01-25T20:10:00Z"));
  const good = [review("2027-01-25T20:00:00.000Z", 3)];
  assert.equal(isDue(good, new Date(2027, 0, 25, 23)), false);
  assert.equal(isDue(good, new Date(2027, 0, 26, 0, 5)), true);
  assert.equal(dueDay(good, new Date(2027, 1, 9)), "2027-02-09", "what is overdue is due today");
});

test("the order in which reviews are listed does not matter", () => {
  const reviews = [review("2027-01-25T08:00:00.000Z", 3), review("2027-01-26T08:00:00.000Z", 1), review("2027-01-26T08:20:00.000Z", 3)];
  assert.deepEqual(replay([...reviews].reverse()), replay(reviews));
});

test("the four ratings lead to later and later meetings", () => {
  const minutes = preview([], new Date(2027, 0, 25, 12));
  assert.deepEqual(minutes, [10, 725, 1440, 8 * 1440]);
  assert.deepEqual(minutes.map(told), ["10 min", "12 h", "1 day", "8 days"]);
  assert.deepEqual([90 * 1440, 800 * 1440].map(told), ["3 months", "2 years"]);
});

test("a date is the reader's own, and dates count over months", () => {
  assert.equal(dayOf(new Date(2027, 1, 28, 23, 59)), "2027-02-28");
  assert.equal(addDays("2027-02-28", 1), "2027-03-01");
});
