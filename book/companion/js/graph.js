/** The map of concepts: chapters, what each builds on, its key terms, and how far the reader is with each, in colour and in words. */
import { el, svg } from "./dom.js";
import { dueIds } from "./deck.js";
import { _, counted } from "./words.js";

/** @typedef {import("./types.js").CourseChapter} CourseChapter */
const COLUMN = 150, ROW = 78, WIDE = 136, HIGH = 52;
export const STATES = ["outline", "not begun", "begun", "all answered", "all right"];

/** One of STATES in the language of the page. @param {string} word */
export const named = (word) => ({ outline: _("outline"), "not begun": _("not begun"), begun: _("begun"), "all answered": _("all answered"), "all right": _("all right") })[word] ?? word;

/**
 * How far a reader is with a chapter, in one of the words of STATES and in a sentence.
 * @param {CourseChapter} chapter
 * @param {import("./types.js").State} state
 * @param {Date} now
 */
export function standing(chapter, state, now) {
  const ids = chapter.sections.flatMap((s) => s.questions);
  const answered = ids.filter((id) => state.answers[id]?.length);
  const right = answered.filter((id) => state.answers[id].at(-1)?.right).length;
  const met = chapter.cards.filter((id) => state.reviews[id]?.length).length;
  const due = dueIds(state, now).filter((id) => id.startsWith(`${chapter.number}/`)).length;
  const word = !chapter.written ? "outline" : !answered.length && !met ? "not begun" : !ids.length || answered.length < ids.length ? "begun"
    : right < ids.length ? "all answered" : "all right";
  return { word, questions: ids.length, answered: answered.length, right, met, due };
}

/**
 * Rows of a volume: each chapter stands below all that it builds on.
 * @param {CourseChapter[]} chapters
 * @returns {CourseChapter[][]}
 */
export function rows(chapters) {
  /** @type {Map<string, number>} */
  const depth = new Map();
  /** @type {CourseChapter[][]} */
  const made = [];
  for (const c of chapters) {
    const level = Math.max(-1, ...c.requires.map((n) => depth.get(n) ?? -1)) + 1;
    depth.set(c.number, level);
    (made[level] ??= []).push(c);
  }
  return made;
}

/** A title in lines of a box. @param {string} title */
function lines(title) {
  /** @type {string[]} */
  const made = [];
  for (const word of title.split(" ")) {
    const last = made.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= 16) made[made.length - 1] = `${last} ${word}`;
    else made.push(word);
  }
  return made.slice(0, 2);
}

/**
 * @param {HTMLElement} holder
 * @param {import("./types.js").Course} course
 * @param {import("./types.js").State} state
 * @param {Date} now
 * @param {string} root
 */
export function draw(holder, course, state, now, root) {
  const told = el("div", { class: "mlc-terms", role: "status" });
  for (const volume of [1, 2]) {
    const chapters = course.chapters.filter((c) => c.volume === volume), levels = rows(chapters);
    const widest = Math.max(...levels.map((r) => r.length));
    const width = widest * COLUMN, height = levels.length * ROW;
    /** @type {Map<string, [number, number]>} */
    const at = new Map();
    levels.forEach((row, y) => row.forEach((c, x) => at.set(c.number, [(x + (widest - row.length) / 2) * COLUMN + (COLUMN - WIDE) / 2, y * ROW + 4])));
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, class: "mlc-graph", role: "group",
      "aria-label": `Volume ${"I".repeat(volume)}: ${chapters.length} chapters, each below those that it builds on. The list below says the same in words.` });
    for (const c of chapters) {
      const [x, y] = at.get(c.number) ?? [0, 0];
      for (const n of c.requires) {
        const from = at.get(n);
        if (!from) continue;
        const [x0, y0, x1] = [from[0] + WIDE / 2, from[1] + HIGH, x + WIDE / 2];
        picture.append(svg("path", { d: `M${x0} ${y0}C${x0} ${y0 + 18} ${x1} ${y - 18} ${x1} ${y}`, class: "mlc-edge" }));
      }
    }
    for (const c of chapters) {
      const [x, y] = at.get(c.number) ?? [0, 0], how = standing(c, state, now);
      const words = [`${Number(c.number.slice(3))} ${c.title}`].flatMap(lines);
      const node = svg("g", { class: `mlc-node mlc-${how.word.replaceAll(" ", "-")}`, role: "button", tabindex: 0, "aria-label": `${c.number} ${c.title}: ${how.word}${how.due ? `, ${counted(how.due, "card")} due` : ""}` },
        svg("rect", { x, y, width: WIDE, height: HIGH, rx: 5 }));
      const text = svg("g", { class: "mlc-text", "aria-hidden": "true" }, ...words.map((line, i) => svg("text", { x: x + WIDE / 2, y: y + 16 + 13 * i - (words.length > 1 ? 2 : -4), "text-anchor": "middle" }, line)),
        svg("text", { x: x + WIDE / 2, y: y + HIGH - 7, "text-anchor": "middle", class: "mlc-word" }, how.due ? `${how.word}, ${how.due} due` : how.word));
      node.addEventListener("click", () => tell(c));
      node.addEventListener("keydown", (event) => {
        const key = /** @type {KeyboardEvent} */ (event).key;
        if (key === "Enter" || key === " ") { event.preventDefault(); tell(c); }
      });
      picture.append(node, text);
    }
    holder.append(el("h3", {}, `Volume ${"I".repeat(volume)}`), el("div", { class: "mlc-scroll", tabindex: 0, role: "region", "aria-label": `Map of volume ${"I".repeat(volume)}` }, picture));
  }
  holder.append(told, el("details", {}, el("summary", {}, "The map as a list"), el("ul", {}, ...course.chapters.map((c) => el("li", {}, ...about(c))))));

  /** @param {CourseChapter} c */
  function tell(c) {
    told.replaceChildren(el("p", {}, ...about(c)), ...(c.terms.length ? [el("dl", {}, ...c.terms.flatMap((t) => [el("dt", {}, t.term), el("dd", {}, `${t.meaning}.`)]))]
      : [el("p", {}, "It defines no key terms yet.")]));
  }

  /** @param {CourseChapter} c */
  function about(c) {
    const how = standing(c, state, now);
    const asked = how.questions ? `; ${how.answered} of ${counted(how.questions, "question")} answered, ${how.right} right` : "";
    const due = how.due ? `; ${counted(how.due, "card")} due` : "";
    return [el("a", { href: `${root}${c.file}.html` }, `${c.number} ${c.title}`), `: ${how.word}${asked}${due}. `,
      `Builds on ${c.requires.join(", ") || "nothing before it"}. `, c.terms.length ? `Key terms: ${c.terms.map((t) => t.term).join(", ")}.` : ""];
  }
}
