/**
 * When to meet a card again. A card is the list of its reviews; its state is computed from them, so progress of two machines merges
 * by putting the lists together. The memory is that of ts-fsrs; mlsysbook/companion/schedule.py does the same with py-fsrs.
 *
 * FSRS sees whole days: every review of a date counts as made at its midnight, and an interval is added to the time of the review.
 * Below a day a card is due at a minute, from a day on at a date.
 */
import { fsrs, generatorParameters } from "ts-fsrs";
import { _ } from "./words.js";
import parameters from "../../../mlsysbook/companion/fsrs.json" with { type: "json" };

export const NEW_A_DAY = parameters.new_a_day;
export const RATINGS = [{ rating: 1, name: _("Again") }, { rating: 2, name: _("Hard") }, { rating: 3, name: _("Good") }, { rating: 4, name: _("Easy") }];
const DAY = 24 * 60;            // minutes

const model = fsrs(generatorParameters({ request_retention: parameters.retention, maximum_interval: parameters.longest_days,
  w: parameters.weights, enable_fuzz: false, enable_short_term: true }));

/**
 * The reader's date, "2027-01-25".
 * @param {Date} at
 */
export function dayOf(at) {
  return [at.getFullYear(), String(at.getMonth() + 1).padStart(2, "0"), String(at.getDate()).padStart(2, "0")].join("-");
}

/** @param {string} day */
const midnight = (day) => new Date(`${day}T00:00:00Z`);

/** @param {string} from  @param {string} to */
const days = (from, to) => Math.round((midnight(to).getTime() - midnight(from).getTime()) / (DAY * 60000));

/** @param {string} day  @param {number} more */
export function addDays(day, more) {
  return new Date(midnight(day).getTime() + more * DAY * 60000).toISOString().slice(0, 10);
}

/**
 * The first meetings, before the model's intervals count: Again starts over, Good goes on, Easy ends them. Hard stays; at the first of
 * several it waits half-way to the second.
 * @param {number[]} steps  minutes
 * @param {number} at  the step that the card is at
 * @param {number} rating
 * @returns {[number, number]|null}  the step that it is at now, and minutes; null: the model's interval counts
 */
function short(steps, at, rating) {
  if (rating === 1) return [0, steps[0]];
  if (rating === 2) return [at, at === 0 ? Math.round(steps.length > 1 ? (steps[0] + steps[1]) / 2 : 1.5 * steps[0]) : steps[at]];
  return rating === 3 && at + 1 < steps.length ? [at + 1, steps[at + 1]] : null;
}

/**
 * State after these reviews: `minutes` until it is due after the last one, and `day` or `at` when that is.
 * @param {import("./types.js").Review[]} reviews  in any order
 * @returns {{stability: number, difficulty: number, minutes: number, day: string|null, at: number|null}|null}
 */
export function replay(reviews) {
  const ordered = [...reviews].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  if (!ordered.length) return null;
  /** @type {import("ts-fsrs").FSRSState|null} */
  let memory = null;
  /** @type {number[]|null} */
  let steps = parameters.learning_minutes;
  let at = 0, minutes = 0, day = ordered[0].day;
  for (const review of ordered) {
    const today = review.day > day ? review.day : day;          // a journey west must not run time backwards
    memory = model.next_state(memory, days(day, today), review.rating);
    day = today;
    if (!steps && review.rating === 1) [steps, at] = [parameters.relearning_minutes, 0];
    const next = steps && short(steps, at, review.rating);
    if (next) [at, minutes] = next;
    else [steps, minutes] = [null, DAY * model.next_interval(memory.stability, 0)];
  }
  const { stability, difficulty } = /** @type {import("ts-fsrs").FSRSState} */ (memory);
  return minutes < DAY ? { stability, difficulty, minutes, day: null, at: Date.parse(ordered[ordered.length - 1].at) + minutes * 60000 }
    : { stability, difficulty, minutes, day: addDays(day, Math.round(minutes / DAY)), at: null };
}

/**
 * Minutes to the next meeting for each of the four ratings.
 * @param {import("./types.js").Review[]} reviews
 * @param {Date} now
 */
export function preview(reviews, now) {
  return RATINGS.map(({ rating }) => replay([...reviews, { at: now.toISOString(), day: dayOf(now), rating }])?.minutes ?? 0);
}

/**
 * @param {import("./types.js").Review[]} reviews
 * @param {Date} now
 */
export function isDue(reviews, now) {
  const found = replay(reviews);
  return found !== null && (found.day !== null ? found.day <= dayOf(now) : (found.at ?? 0) <= now.getTime());
}

/**
 * The date on which a card is due, today at the earliest.
 * @param {import("./types.js").Review[]} reviews
 * @param {Date} now
 */
export function dueDay(reviews, now) {
  const found = replay(reviews), today = dayOf(now);
  if (!found) return null;
  const day = found.day ?? dayOf(new Date(found.at ?? 0));
  return day > today ? day : today;
}

/**
 * An interval for reading: "10 min", "12 h", "1 day", "3 months".
 * @param {number} minutes
 */
export function told(minutes) {
  if (minutes < 60) return _("{1} min", minutes);
  if (minutes < DAY) return _("{1} h", Math.round(minutes / 60));
  const days = Math.round(minutes / DAY);
  if (days < 60) return days === 1 ? _("1 day") : _("{1} days", days);
  return days < 730 ? _("{1} months", Math.round(days / 30.4)) : _("{1} years", Math.round(days / 365));
}
