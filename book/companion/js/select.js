/** Highlight text in a chapter: a small toolbar explains it, asks about it, or says where it goes on. Tab moves into it, Escape hides it. */
import { book, link, offer, passage } from "./ask.js";
import { sectionOf, stems } from "./bm25.js";
import { el } from "./dom.js";
import { block, load } from "./quiz.js";
import { _ } from "./words.js";

/** @typedef {import("./types.js").Context} Context */

const SHORTEST = 3, LONGEST = 1500;

/** What was highlighted, and the section it stands in. @typedef {{text: string, section: string}} Chosen */

/** @returns {Chosen|null} */
function chosen() {
  const selection = getSelection(), text = selection?.toString().replace(/\s+/g, " ").trim() ?? "";
  const parent = selection?.anchorNode?.parentElement, end = selection?.focusNode?.parentElement;
  if (text.length < SHORTEST || !parent?.closest("article") || !end?.closest("article")) return null;
  if (parent.closest(".mlc-check, .mlc-toolbar, input, textarea")) return null;
  return { text: text.slice(0, LONGEST), section: parent.closest("section[id]")?.id ?? "" };
}

/** Watch for highlighted text from now on. @param {Context} ctx */
export function watch(ctx) {
  /** @type {Chosen|null} */
  let about = null;
  let told = false;
  const action = (/** @type {string} */ name, /** @type {string} */ words) => el("button", { type: "button", tabindex: -1,
    mousedown: (/** @type {Event} */ event) => event.preventDefault(), click: () => { const what = about; hide(); ctx.open("ask", { [name]: what }); } }, words);
  const bar = el("div", { class: "mlc-toolbar", role: "toolbar", "aria-label": _("Highlighted text"), hidden: true, keydown: keys },
    action("explain", _("Explain")), action("quiz", _("Quiz me")), action("next", _("Where next")));
  const buttons = /** @type {HTMLElement[]} */ ([...bar.children]);
  document.body.append(bar);

  function update() {
    const found = chosen(), selection = getSelection();
    if (!found || !selection?.rangeCount) {
      if (!bar.contains(document.activeElement)) hide();
      return;
    }
    about = found;
    bar.hidden = false;
    const box = selection.getRangeAt(0).getBoundingClientRect(), own = bar.getBoundingClientRect();
    const below = matchMedia("(pointer: coarse)").matches || box.top < own.height + 70;      // a phone has its own bar above
    const top = Math.min(Math.max(below ? box.bottom + 10 : box.top - own.height - 8, 4), innerHeight - own.height - 4);
    bar.style.top = `${scrollY + top}px`;
    bar.style.left = `${scrollX + Math.min(Math.max(box.left, 4), document.documentElement.clientWidth - own.width - 4)}px`;
    if (!told) ctx.say(_("Explain, quiz me, where next: press Tab."));
    told = true;
  }

  function hide() {
    bar.hidden = true;
    about = null;
  }

  /** @param {KeyboardEvent} event */
  function keys(event) {
    const at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement)), end = buttons.length - 1;
    const to = { ArrowRight: at === end ? 0 : at + 1, ArrowLeft: at > 0 ? at - 1 : end, Home: 0, End: end }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[to].focus();
  }

  /** @type {number|undefined} */
  let later;
  document.addEventListener("selectionchange", () => { clearTimeout(later); later = setTimeout(update, 150); });
  document.addEventListener("keydown", (event) => {
    if (bar.hidden) return;
    if (event.key === "Escape") hide();
    else if (event.key === "Tab" && !event.shiftKey && !bar.contains(document.activeElement) && !document.activeElement?.closest(".mlc-panel, input, textarea, select")) {
      event.preventDefault();
      buttons[0].focus();
    }
  });
  addEventListener("resize", () => { if (!bar.hidden) update(); });
  update();
}

/** The quotation that a view is about. @param {string} title @param {Chosen} about @param {Context} ctx */
function head(title, about, ctx) {
  const short = about.text.length > 160 ? `${about.text.slice(0, 160)} …` : about.text;
  return [el("p", { class: "mlc-note" }, el("button", { type: "button", class: "mlc-example", click: () => ctx.open("ask") }, _("Ask the book"))),
    el("h2", {}, title), el("blockquote", { class: "mlc-quoted" }, short)];
}

/** Key terms in it, and what else the book says about it. @param {HTMLElement} holder @param {Context} ctx @param {Chosen} about */
export async function explain(holder, ctx, about) {
  holder.append(...head(_("Explain"), about, ctx));
  const index = await book(ctx), terms = index.termsIn(about.text).slice(0, 5);
  if (terms.length) {
    holder.append(el("dl", { class: "mlc-defined" }, ...terms.flatMap((t) => {
      const [page, anchor] = sectionOf(t.id).split("#");
      return [el("dt", {}, link(ctx, { page, anchor }, t.term)), el("dd", {}, t.meaning)];
    })));
  }
  const query = index.query(about.text), here = `${ctx.page.file}#${about.section}`, whole = stems(about.text).join(" ");
  const ranked = index.rank(about.text).filter((f) => !index.defined.has(f.i));
  const other = ranked.filter((f) => index.sections[f.i] !== here || !stems(index.passages[f.i].text).join(" ").includes(whole));      // not what was just read
  const found = index.spread(other, 3, ranked[0]), same = found.find((f) => index.sections[f.i] === here);
  const answers = (same ? [same, ...found.filter((f) => f !== same)] : found).map((f) => index.answer(f, query));
  if (!answers.length && !terms.length) holder.append(el("p", {}, _("The book says nothing more about this. Highlight a whole sentence, or ask in your own words.")));
  if (answers.length) {
    holder.append(el("p", {}, _("The book on this:")), el("ol", { class: "mlc-passages" }, ...answers.map((a, i) => passage(ctx, a, i + 1))));
    offer(holder, ctx, `Explain this passage of the book in simpler words: “${about.text}”`, answers);
  }
  ctx.say(_("{1} terms and {2} passages.", terms.length, answers.length));
}

/** Three questions: of its section, and of the chapter where the words are the nearest. @param {HTMLElement} holder @param {Context} ctx @param {Chosen} about */
export async function quizMe(holder, ctx, about) {
  holder.append(...head(_("Quiz me"), about, ctx));
  const chapter = ctx.page.sections.length ? await load(ctx) : null;
  if (!chapter?.questions.length) {
    holder.append(el("p", {}, _("This page has no questions. Written chapters have some at the end of each section.")));
    return;
  }
  const index = await book(ctx), weights = new Map(index.informative(about.text).map((s) => [s, index.idf(s)]));
  const around = new Set();
  for (let at = document.getElementById(about.section); at; at = /** @type {HTMLElement|null} */ (at.parentElement?.closest("section[id]") ?? null)) around.add(at.id);
  const scored = chapter.questions.map((q, i) => {
    const count = new Map();
    for (const s of index.tokens(q.ask.replace(/<[^>]*>/g, " "))) count.set(s, (count.get(s) ?? 0) + 1);
    return { q, i, score: index.bm25(weights, count, 1) + (around.has(q.section) ? 100 : 0) };
  }).filter((x) => x.score > 0).sort((a, b) => b.score - a.score || a.i - b.i);
  const asked = (scored.length ? scored : chapter.questions.map((q) => ({ q }))).slice(0, 3).map((x) => x.q);
  holder.append(...asked.map((q, i) => block(q, i + 1, ctx, "mlc-chosen")));
  await ctx.typeset(holder);
}

/** What goes with the chapter, and the nearest sections of others. @param {HTMLElement} holder @param {Context} ctx @param {Chosen} about */
export async function next(holder, ctx, about) {
  holder.append(...head(_("Where next"), about, ctx));
  const used = document.querySelector(".mls-where ul");
  if (used) holder.append(el("p", {}, _("With this chapter:")), used.cloneNode(true));       // written by the build, from the catalogue
  const index = await book(ctx);
  const others = index.rank(about.text).filter((f) => !index.defined.has(f.i) && !index.passages[f.i].id.startsWith(`${ctx.page.file}#`));
  const found = index.spread(others, 3).map((f) => index.answer(f, index.query(about.text)));
  if (found.length) holder.append(el("p", {}, _("On the same in other chapters:")), el("ul", {}, ...found.map((a) => el("li", {}, link(ctx, a, `${a.chapter}, ${a.heading}`)))));
  const mine = ctx.page.sections.find((s) => s.id === about.section) ?? ctx.page.sections.find((s) => document.getElementById(s.id)?.contains(document.getElementById(about.section)));
  if (mine?.questions.length) holder.append(el("p", {}, el("button", { type: "button", class: "mlc-button", click: () => ctx.open("quiz", { section: mine.id }) }, _("Questions of this section"))));
}
