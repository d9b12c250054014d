/** Which cards there are, and which come next. A question once answered wrong is a card as well. */
import { dayOf, isDue, NEW_A_DAY, replay } from "./schedule.js";

/** @typedef {import("./types.js").State} State */

/**
 * @param {import("./types.js").Question} question
 * @returns {import("./types.js").Card}
 */
export function cardOf(question) {
  const right = (question.choices ?? []).filter((c) => c.right);
  const back = question.kind === "number" ? `<p><strong>${question.shown ?? ""}</strong></p><p>${question.why}</p>`
    : right.map((c) => `<p><strong>${c.text}</strong></p><p>${c.why}</p>`).join("");
  const options = (question.choices ?? []).map((c) => `<li>${c.text}</li>`).join("");
  return { id: question.id, section: question.section, front: `<p>${question.ask}</p>${options && `<ul>${options}</ul>`}`, back };
}

/** Whether a question became a card. @param {State} state @param {string} id */
export const missed = (state, id) => (state.answers[id] ?? []).some((a) => !a.right);

/**
 * Cards of a chapter, after those that wrong answers made.
 * @param {import("./types.js").Chapter} chapter
 * @param {State} state
 */
export function deck(chapter, state) {
  return [...chapter.questions.filter((q) => missed(state, q.id)).map(cardOf), ...chapter.cards];
}

/** Names of the cards that are due, of all chapters. @param {State} state @param {Date} now */
export function dueIds(state, now) {
  return Object.keys(state.reviews).filter((id) => isDue(state.reviews[id], now));
}

/** How many cards were met for the first time today. @param {State} state @param {Date} now */
export function begunToday(state, now) {
  const today = dayOf(now);
  return Object.values(state.reviews).filter((reviews) => reviews.length && reviews.every((r) => r.day === today)).length;
}

/**
 * The cards to show now: those due, the longest overdue first, then new ones as far as the day's number goes.
 * @template {{id: string}} T
 * @param {T[]} cards
 * @param {State} state
 * @param {Date} now
 * @param {number} [more]  new cards beyond the day's number
 * @returns {{due: T[], fresh: T[], left: number}}  left: new cards that wait for another day
 */
export function queue(cards, state, now, more = 0) {
  /** @param {string} id */
  const when = (id) => { const r = replay(state.reviews[id]); return r?.at ?? (r?.day ? Date.parse(r.day) : 0); };
  const due = cards.filter((c) => state.reviews[c.id]?.length && isDue(state.reviews[c.id], now)).sort((a, b) => when(a.id) - when(b.id));
  const unseen = cards.filter((c) => !state.reviews[c.id]?.length);
  const room = Math.max(0, (state.settings.newADay ?? NEW_A_DAY) + more - begunToday(state, now));
  return { due, fresh: unseen.slice(0, room), left: Math.max(0, unseen.length - room) };
}
