/** Cards: one at a time, what the ratings would do, undo. Space or Enter turns a card, 1 to 4 rate it, U takes the last rating back. */
import { el, html } from "./dom.js";
import { deck, dueIds, queue } from "./deck.js";
import { dayOf, preview, RATINGS, replay, told } from "./schedule.js";
import { _, counted } from "./words.js";

/** @typedef {import("./types.js").Context} Context */

/** Where a card is next, in words. @param {import("./types.js").Review[]} reviews @param {Date} now */
export function when(reviews, now) {
  const found = replay(reviews);
  if (!found) return _("new");
  if (found.day === null) return _("due in {1}", told(found.minutes));
  const days = Math.round((Date.parse(found.day) - Date.parse(dayOf(now))) / 864e5);
  return days <= 0 ? _("due today") : days === 1 ? _("due tomorrow") : _("due in {1}", told(days * 1440));
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "cards", title: _("Cards"), order: 20,
  async render(holder, ctx, options) {
    const course = /** @type {import("./types.js").Course} */ (await ctx.data("course"));
    const withCards = course.chapters.filter((c) => c.cards.length);
    const here = withCards.find((c) => c.number === (options.chapter ?? ctx.page.chapter));
    const select = /** @type {HTMLSelectElement} */ (el("select", { id: "mlc-deck", change: () => start() },
      el("option", { value: "", selected: !here }, _("All chapters with a card due")),
      ...withCards.map((c) => el("option", { value: c.number, selected: c === here }, `${c.number} ${_(c.title)}`))));
    const place = el("div", { class: "mlc-deck" });
    holder.append(el("p", {}, el("label", { for: "mlc-deck" }, _("Cards of"), " "), select), place);
    /** @type {{id: string, at: string}[]} */
    const done = [];
    /** @type {(import("./types.js").Card & {file: string})[]} */
    let cards = [];
    let more = 0;

    async function start() {
      const due = new Set(dueIds(ctx.store.state, ctx.now()).map((id) => id.split("/")[0]));
      const wanted = select.value ? withCards.filter((c) => c.number === select.value) : withCards.filter((c) => due.has(c.number));
      cards = [];
      for (const c of wanted) {
        const chapter = /** @type {import("./types.js").Chapter} */ (await ctx.data(c.number.replace("-", "_").toLowerCase()));
        cards.push(...deck(chapter, ctx.store.state).map((card) => ({ ...card, file: c.file })));
      }
      show();
    }

    function show(focus = false) {
      const { due, fresh, left } = queue(cards, ctx.store.state, ctx.now(), more);
      const card = due[0] ?? (select.value ? fresh[0] : undefined);
      const count = el("p", { class: "mlc-note" }, _("{1} due, {2} new today", due.length, select.value ? fresh.length : 0));
      const back = done.length ? el("button", { type: "button", class: "mlc-button mlc-quiet", click: undo }, _("Undo (U)")) : null;
      if (!card) {
        const finished = el("p", { tabindex: -1 }, cards.length ? _("Nothing is due now.") : _("No card is due in any chapter."));
        place.replaceChildren(finished, next(left), el("div", { class: "mlc-row" }, back));
        if (focus) finished.focus();
        return;
      }
      const reviews = ctx.store.state.reviews[card.id] ?? [];
      const face = html(el("div", { class: "mlc-front", tabindex: -1 }), card.front);
      const behind = el("div", { class: "mlc-back", hidden: true, tabindex: -1 });
      const ratings = el("div", { class: "mlc-row mlc-ratings", hidden: true, role: "group", "aria-label": _("How well did you know it?") });
      const turn = el("button", { type: "button", class: "mlc-button", click: flip }, _("Show the answer"));
      const from = el("a", { class: "mlc-from", href: `${ctx.root}${card.file}.html#${card.section}` }, _("Where it stands in the book"));
      const frame = el("div", { class: "mlc-card", keydown: keys }, el("p", { class: "mlc-note" }, reviews.length ? _("{1} so far", counted(reviews.length, "review")) : _("New card")),
        face, behind, el("div", { class: "mlc-row" }, turn), ratings);
      function flip() {
        html(behind, card?.back ?? "").append(from);
        behind.hidden = false;
        turn.hidden = true;
        const minutes = preview(reviews, ctx.now());
        ratings.replaceChildren(...RATINGS.map(({ rating, name }, i) => el("button", { type: "button", class: `mlc-button mlc-rating-${rating}`,
          click: () => rate(rating) }, el("span", {}, name), el("small", {}, ` ${told(minutes[i])}`))));
        ratings.hidden = false;
        ctx.typeset(behind);
        behind.focus();
      }
      /** @param {any} event */
      function keys(event) {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const pressed = /** @type {KeyboardEvent} */ (event).key;
        const button = event.target instanceof HTMLButtonElement || event.target instanceof HTMLAnchorElement;
        if (behind.hidden && (pressed === " " || pressed === "Enter") && !button) flip();
        else if (!behind.hidden && /^[1-4]$/.test(pressed)) rate(Number(pressed));
        else if (/^u$/i.test(pressed) && done.length) undo();
        else return;
        event.preventDefault();
      }
      /** @param {number} rating */
      function rate(rating) {
        if (!card) return;
        const at = ctx.now();
        const review = { at: at.toISOString(), day: dayOf(at), rating };
        ctx.store.change((state) => { (state.reviews[card.id] ??= []).push(review); });
        done.push({ id: card.id, at: review.at });
        ctx.say(`${RATINGS[rating - 1].name}: ${when(ctx.store.state.reviews[card.id], at)}.`);
        show(true);
      }
      place.replaceChildren(count, frame, el("div", { class: "mlc-row" }, back));
      ctx.typeset(face);
      if (focus) face.focus();
    }

    function undo() {
      const last = done.pop();
      if (!last) return;
      ctx.store.change((state) => {
        state.reviews[last.id] = (state.reviews[last.id] ?? []).filter((r) => r.at !== last.at);
        if (!state.reviews[last.id].length) delete state.reviews[last.id];
      });
      ctx.say(_("The last rating is taken back."));
      show(true);
    }

    /** What there is after the last card. @param {number} left */
    function next(left) {
      const coming = cards.map((c) => ctx.store.state.reviews[c.id]).filter((r) => r?.length).map((r) => replay(r)?.at).filter((at) => at && at > ctx.now().getTime());
      const soon = coming.length ? el("p", {}, _("Back today: {1}.", counted(coming.length, "card"))) : null;
      const fresh = select.value && left ? el("p", {}, _("For another day: {1}.", counted(left, "new card")), " ",
        el("button", { type: "button", class: "mlc-button mlc-quiet", click: () => { more += 5; show(true); } }, _("Take five now"))) : null;
      return el("div", {}, soon, fresh);
    }

    await start();
  },
};
