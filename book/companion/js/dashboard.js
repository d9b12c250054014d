/** Progress: a page of its own, and a short form for the panel. Every chart stands beside its numbers; nothing is praised or counted in days. */
import { el, svg } from "./dom.js";
import { dueIds, missed } from "./deck.js";
import { draw, named, standing } from "./graph.js";
import { addDays, dayOf, dueDay } from "./schedule.js";
import { tab as data } from "./io.js";
import { _, counted } from "./words.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Course} Course */
const AHEAD = 14;           // days of the forecast

/**
 * How many cards come due on each of the next days; what is overdue stands today.
 * @param {State} state
 * @param {Date} now
 * @returns {{day: string, count: number}[]}
 */
export function forecast(state, now) {
  const today = dayOf(now);
  const days = Array.from({ length: AHEAD }, (_, i) => ({ day: addDays(today, i), count: 0 }));
  for (const reviews of Object.values(state.reviews)) {
    const found = days.find((d) => d.day === dueDay(reviews, now));
    if (found) found.count += 1;
  }
  return days;
}

/**
 * Sections with answers: first tries that were right, and how it stands now; the weakest first.
 * @param {Course} course
 * @param {State} state
 */
export function bySection(course, state) {
  return course.chapters.flatMap((c) => c.sections.map((s) => {
    const answered = s.questions.filter((id) => state.answers[id]?.length);
    return { chapter: c, section: s, answered: answered.length, first: answered.filter((id) => state.answers[id][0].right).length,
      now: answered.filter((id) => state.answers[id].at(-1)?.right).length };
  })).filter((row) => row.answered).sort((a, b) => a.first / a.answered - b.first / b.answered || b.answered - a.answered);
}

/** @param {Course} course @param {State} state @param {Date} now */
export function summary(course, state, now) {
  const all = course.chapters.map((c) => standing(c, state, now));
  const answered = all.reduce((n, s) => n + s.answered, 0), questions = all.reduce((n, s) => n + s.questions, 0);
  const first = Object.values(state.answers).filter((list) => list[0]?.right).length;
  const days = forecast(state, now), reviews = Object.values(state.reviews).flat().length;
  const due = dueIds(state, now).length;
  const known = answered ? _("You have answered {1} of {2}, {3} of them right at the first try.", answered, counted(questions, "question"), first)
    : _("There are {1}; you have answered none yet.", counted(questions, "question"));
  const cards = reviews ? _("You have met {1}: {2} due now, {3} tomorrow.", counted(Object.keys(state.reviews).length, "card"), due, days[1].count) : _("You have met no card yet.");
  return `${known} ${cards}`;
}

/** A share as a bar; the numbers stand beside it. @param {number} part @param {number} whole */
function bar(part, whole) {
  return svg("svg", { viewBox: "0 0 100 10", class: "mlc-bar", "aria-hidden": "true", preserveAspectRatio: "none" },
    svg("rect", { x: 0, y: 0, width: 100, height: 10, class: "mlc-bar-all" }), svg("rect", { x: 0, y: 0, width: whole ? (100 * part) / whole : 0, height: 10, class: "mlc-bar-part" }));
}

/** @param {string} name @param {string[]} heads @param {(string|Node)[][]} body */
function table(name, heads, body) {
  return el("div", { class: "mlc-scroll", tabindex: 0, role: "region", "aria-label": name }, el("table", { class: "mlc-table" },
    el("thead", {}, el("tr", {}, ...heads.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, ...body.map((row) => el("tr", {}, ...row.map((cell, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, cell)))))));
}

/** @param {string} day */
const told = (day) => new Date(`${day}T12:00:00`).toLocaleDateString(document.documentElement.lang || "en", { weekday: "short", day: "numeric", month: "short" });

/** @param {{day: string, count: number}[]} days */
function chart(days) {
  const top = Math.max(1, ...days.map((d) => d.count)), step = 40, high = 90;
  const words = days.filter((d) => d.count).map((d) => `${told(d.day)}: ${d.count}`).join("; ");
  const picture = svg("svg", { viewBox: `0 0 ${step * days.length} ${high + 34}`, class: "mlc-forecast", role: "img", "aria-label": words ? `Cards due a day: ${words}` : "No card is due in these days." });
  days.forEach((d, i) => {
    const tall = (high * d.count) / top;
    picture.append(svg("rect", { x: i * step + 6, y: high + 14 - tall, width: step - 12, height: Math.max(tall, 1), class: "mlc-bar-part" }),
      svg("text", { x: i * step + step / 2, y: high + 10 - tall, "text-anchor": "middle" }, d.count ? String(d.count) : ""),
      svg("text", { x: i * step + step / 2, y: high + 30, "text-anchor": "middle" }, i === 0 ? "today" : String(Number(d.day.slice(8)))));
  });
  return [picture, el("p", {}, words ? `In words: ${words}.` : "No card is due in these days.")];
}

/**
 * The page of all progress.
 * @param {HTMLElement} holder
 * @param {import("./types.js").Context} ctx
 */
export async function dashboard(holder, ctx) {
  const course = /** @type {Course} */ (await ctx.data("course"));
  const imports = el("div", {});
  data.render(imports, ctx, {});
  const body = el("div", {});
  const problem = el("p", { class: "mlc-problem", role: "alert", hidden: true });
  holder.replaceChildren(problem, body, el("h2", {}, "Your data"), imports);

  function show() {
    const state = ctx.store.state, now = ctx.now();
    const written = course.chapters.filter((c) => c.sections.length || c.cards.length);
    const sections = bySection(course, state), days = forecast(state, now), due = dueIds(state, now).length;
    problem.hidden = !ctx.store.problem;
    problem.textContent = ctx.store.problem ?? "";
    body.replaceChildren(
      el("p", { class: "mlc-summary" }, summary(course, state, now)),
      due ? el("div", { class: "mlc-row" }, el("button", { type: "button", class: "mlc-button", click: () => ctx.open("cards") }, `Review ${counted(due, "card")}`)) : "",
      el("h2", {}, "Chapters"),
      table("Chapters", ["Chapter", "", "Questions answered", "Right now", "Cards met", "Due"], written.map((c) => {
        const s = standing(c, state, now);
        return [el("a", { href: `${ctx.root}${c.file}.html` }, `${c.number} ${_(c.title)}`), bar(s.answered, s.questions), `${s.answered} of ${s.questions}`,
          String(s.right), `${s.met} of ${c.cards.length}`, String(s.due)];
      })),
      el("h2", {}, `Cards due in the next ${AHEAD} days`), ...chart(days),
      el("h2", {}, "Accuracy by section"),
      sections.length ? table("Accuracy by section", ["Section", "Answered", "Right at first", "Right now"], sections.map((row) => [
        el("a", { href: `${ctx.root}${row.chapter.file}.html#${row.section.id}` }, `${row.chapter.number}, ${row.section.title}`),
        `${row.answered} of ${row.section.questions.length}`, `${row.first} of ${row.answered}`, `${row.now} of ${row.answered}`]))
        : el("p", {}, "It appears with your first answer. The weakest section stands first; with few answers it says little."),
      el("h2", {}, "Map of concepts"),
      el("p", {}, "Choose a chapter to see its key terms."));
    draw(body, course, state, now, ctx.root);
  }
  show();
  ctx.store.subscribe(show);
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "progress", title: _("Progress"), order: 40,
  async render(holder, ctx, options) {
    const course = /** @type {Course} */ (await ctx.data("course")), state = ctx.store.state, now = ctx.now();
    const here = course.chapters.find((c) => c.number === (options.chapter ?? ctx.page.chapter));
    holder.append(el("p", {}, summary(course, state, now)));
    if (here) {
      const listed = (/** @type {string[]} */ numbers) => course.chapters.filter((c) => numbers.includes(c.number)).map((c) =>
        el("li", {}, el("a", { href: `${ctx.root}${c.file}.html` }, `${c.number} ${_(c.title)}`), _(": ") + named(standing(c, state, now).word)));
      const how = standing(here, state, now), after = course.chapters.filter((c) => c.requires.includes(here.number)).map((c) => c.number);
      const wrong = here.sections.filter((s) => s.questions.some((id) => missed(state, id) && !state.answers[id].at(-1)?.right));
      holder.append(el("h2", {}, _(here.title)), el("p", {}, _("{1} of {2} answered, {3} right; {4} of {5} met, {6} due.", how.answered, counted(how.questions, "question"), how.right, how.met, counted(here.cards.length, "card"), how.due)),
        ...(wrong.length ? [el("p", {}, _("Read again:")), el("ul", {}, ...wrong.map((s) => el("li", {}, el("a", { href: `${ctx.root}${here.file}.html#${s.id}` }, s.title))))] : []),
        ...(here.requires.length ? [el("p", {}, _("Builds on")), el("ul", {}, ...listed(here.requires))] : []),
        ...(after.length ? [el("p", {}, _("Leads to")), el("ul", {}, ...listed(after))] : []));
    }
    holder.append(el("p", {}, el("a", { href: `${ctx.root}companion/index.html` }, _("All of your progress, and the map of concepts"))));
  },
};
