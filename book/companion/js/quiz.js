/** Questions: one block a question, feedback to each answer, remembered. */
import { el, html } from "./dom.js";
import { judge } from "./number.js";
import { _, counted } from "./words.js";

/** @typedef {import("./types.js").Question} Question */
/** @typedef {import("./types.js").Context} Context */

const LEVELS = ["", _("recall"), _("apply"), _("analyse")];

/**
 * What an answer by choices deserves.
 * @param {Question} question
 * @param {number[]} given  numbers of the choices
 */
export function judgeChoices(question, given) {
  const choices = question.choices ?? [];
  const right = choices.every((c) => c.right === given.includes(c.n));
  const missing = choices.filter((c) => c.right && !given.includes(c.n)).length;
  const wrong = choices.filter((c) => !c.right && given.includes(c.n)).length;
  const words = right ? _("Right.") : question.kind === "choice" ? _("Not this one.")
    : [wrong && _("{1} too many", counted(wrong, "choice")), missing && _("{1} missing", counted(missing, "choice"))].filter(Boolean).join(_(", ")).replace(/^./, (c) => c.toUpperCase()) + ".";
  return { right, words };
}

/**
 * @param {Question} question
 * @param {number} number  its place in the block, from 1
 * @param {Context} ctx
 * @param {string} prefix  of the ids in this place of the page
 * @returns {HTMLElement}
 */
export function block(question, number, ctx, prefix) {
  const id = `${prefix}-${question.id.split("/")[1]}`;
  const ask = html(el("div", { class: "mlc-ask", id: `${id}-ask` }), question.ask);
  const feedback = el("div", { class: "mlc-feedback", "aria-live": "polite" });
  const form = el("form", { class: "mlc-question", "aria-labelledby": `${id}-ask`, novalidate: true },
    el("div", { class: "mlc-number" }, _("Question {1}", number), el("span", { class: "mlc-level" }, ` · ${LEVELS[question.level]}`)), ask);
  /** @type {HTMLInputElement[]} */
  const inputs = [];
  if (question.kind === "number") {
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "text", id: `${id}-in`, autocomplete: "off", size: 12, inputmode: "text" }));
    inputs.push(input);
    form.append(el("label", { class: "mlc-typed", for: `${id}-in` }, question.unit ? _("Your answer in {1}", question.unit) : _("Your answer"), " ", input));
  } else {
    const set = el("fieldset", {}, el("legend", {}, question.kind === "many" ? _("Several are right") : _("One is right")));
    for (const choice of question.choices ?? []) {
      const input = /** @type {HTMLInputElement} */ (el("input", { type: question.kind === "many" ? "checkbox" : "radio", name: id, value: choice.n, id: `${id}-${choice.n}` }));
      inputs.push(input);
      set.append(el("div", { class: "mlc-choice" }, input, html(el("label", { for: `${id}-${choice.n}` }), choice.text),
        el("div", { class: "mlc-why", hidden: true })));
    }
    form.append(set);
  }
  const check = /** @type {HTMLButtonElement} */ (el("button", { type: "submit", class: "mlc-button" }, _("Check")));
  const show = el("button", { type: "button", class: "mlc-button mlc-quiet", hidden: true, click: () => reveal() }, _("Show the answer"));
  form.append(el("div", { class: "mlc-row" }, check, show), feedback);
  for (const input of inputs) input.addEventListener("input", () => stale());

  /** What was said belongs to an answer that is being changed. */
  function stale() {
    feedback.replaceChildren();
    form.classList.remove("mlc-is-right", "mlc-is-wrong");
    for (const why of form.querySelectorAll(".mlc-why")) /** @type {HTMLElement} */ (why).hidden = true;
    for (const choice of form.querySelectorAll(".mlc-choice")) choice.classList.remove("mlc-yes", "mlc-no");
  }

  /** @param {boolean} right @param {string} words @param {string} [trusted] */
  function tell(right, words, trusted) {
    form.classList.toggle("mlc-is-right", right);
    form.classList.toggle("mlc-is-wrong", !right);
    feedback.replaceChildren(el("p", {}, el("strong", {}, right ? "✓ " : "✗ ", words)));
    if (trusted) feedback.append(html(el("div", {}), trusted));
    show.hidden = right;
  }

  /** @param {number[]} chosen @param {boolean} all  explain every choice */
  function explain(chosen, all = false) {
    for (const [i, choice] of (question.choices ?? []).entries()) {
      if (!all && !chosen.includes(choice.n)) continue;
      const row = form.querySelectorAll(".mlc-choice")[i], why = /** @type {HTMLElement} */ (row.querySelector(".mlc-why"));
      row.classList.add(choice.right ? "mlc-yes" : "mlc-no");
      html(why, choice.why).prepend(el("strong", { lang: document.documentElement.lang }, choice.right ? _("✓ Right: ") : _("✗ Wrong: ")));
      why.hidden = false;
    }
  }

  function reveal() {
    stale();
    if (question.kind === "number") feedback.replaceChildren(el("p", {}, _("The answer:"), " ", html(el("strong", {}), question.shown ?? "")), html(el("div", {}), question.why ?? ""));
    else {
      explain([], true);
      feedback.replaceChildren(el("p", {}, _("The answers are explained above.")));
    }
    show.hidden = true;
    ctx.typeset(form);
  }

  /** @param {number[]|string} given @param {boolean} keep */
  function judged(given, keep) {
    stale();
    if (typeof given === "string") {
      const found = judge(question, given);
      if (!found.read) {
        feedback.replaceChildren(el("p", {}, found.why));
        inputs[0].focus();
        return;
      }
      if (keep) record(given, found.right);
      if (found.html) tell(found.right, found.right ? _("Right.") : _("Not yet."), found.why);
      else tell(found.right, `${_("Not yet.")} ${found.why}`);
    } else {
      if (!given.length) {
        feedback.replaceChildren(el("p", {}, _("Choose an answer first.")));
        inputs[0].focus();
        return;
      }
      const found = judgeChoices(question, given);
      if (keep) record(given, found.right);
      explain(given);
      tell(found.right, found.words);
    }
    if (keep && form.classList.contains("mlc-is-wrong")) feedback.append(el("p", { class: "mlc-note" }, _("This question is now one of your cards.")));
    ctx.typeset(form);
  }

  /** @param {number[]|string} given @param {boolean} right */
  function record(given, right) {
    ctx.store.change((state) => { (state.answers[question.id] ??= []).push({ at: ctx.now().toISOString(), given, right }); });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    judged(question.kind === "number" ? inputs[0].value : inputs.filter((i) => i.checked).map((i) => Number(i.value)), true);
  });

  const last = ctx.store.state.answers[question.id]?.at(-1);
  if (last) {
    if (typeof last.given === "string") { if (question.kind === "number") inputs[0].value = last.given; }
    else for (const input of inputs) input.checked = last.given.includes(Number(input.value));
    if ((typeof last.given === "string") === (question.kind === "number")) judged(last.given, false);
    feedback.prepend(el("p", { class: "mlc-note" }, _("Your answer of {1}:", new Date(last.at).toLocaleDateString(document.documentElement.lang || "en"))));
  }
  return form;
}

/**
 * "2 of 3 answered, 1 right".
 * @param {string[]} ids
 * @param {import("./types.js").State} state
 */
export function standing(ids, state) {
  const answered = ids.filter((id) => state.answers[id]?.length);
  if (!answered.length) return counted(ids.length, "question");
  const right = answered.filter((id) => state.answers[id].at(-1)?.right).length;
  return _("{1} of {2} answered, {3} right", answered.length, counted(ids.length, "question"), right);
}

/**
 * The questions of one section, at its end.
 * @param {HTMLElement} holder
 * @param {Context} ctx
 * @param {string} section
 * @param {string} [prefix]
 */
export async function section(holder, ctx, section, prefix = "mlc-here") {
  const chapter = await load(ctx);
  const asked = chapter?.questions.filter((q) => q.section === section) ?? [];
  holder.replaceChildren(...asked.map((q, i) => block(q, i + 1, ctx, prefix)));
  await ctx.typeset(holder);
}

/** @param {Context} ctx @returns {Promise<import("./types.js").Chapter|null>} */
export async function load(ctx) {
  return ctx.page.chapter ? ctx.data(ctx.page.chapter.replace("-", "_").toLowerCase()) : null;
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "quiz", title: _("Quiz"), order: 10,
  async render(holder, ctx, options) {
    const sections = ctx.page.sections.filter((s) => s.questions.length);
    if (!sections.length) {
      holder.append(el("p", {}, _("This page has no questions. Chapters that have some show them at the end of each section.")));
      return;
    }
    const near = sections.some((s) => s.id === options.section) ? options.section : atEyes(sections);
    const select = /** @type {HTMLSelectElement} */ (el("select", { id: "mlc-section", change: () => show() },
      ...sections.map((s) => el("option", { value: s.id, selected: s.id === near }, s.title))));
    const place = el("div", {}), told = el("p", { class: "mlc-note" });
    holder.append(el("p", {}, el("label", { for: "mlc-section" }, _("Section"), " "), select), told, place);
    async function show() {
      const one = sections.find((s) => s.id === select.value) ?? sections[0];
      told.textContent = _("{1}.", standing(one.questions, ctx.store.state));
      await section(place, ctx, one.id, "mlc-panel");
    }
    await show();
  },
};

/** The section that is being read. @param {import("./types.js").PageSection[]} sections */
function atEyes(sections) {
  const above = sections.filter((s) => (document.getElementById(s.id)?.getBoundingClientRect().top ?? Infinity) < innerHeight / 2);
  return (above.at(-1) ?? sections[0]).id;
}
