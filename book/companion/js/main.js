/** The companion of a page: what load.js fetches at first need. */
import { tab as ask } from "./ask.js";
import * as cards from "./cards.js";
import { dashboard, tab as progress } from "./dashboard.js";
import * as io from "./io.js";
import { panel } from "./panel.js";
import * as quiz from "./quiz.js";
import { watch } from "./select.js";
import { KEY, Store } from "./state.js";

const TABS = [quiz.tab, cards.tab, ask, progress, io.tab];

const host = /** @type {any} */ (window).mlsysCompanion;
const store = Store.open();
const ctx = panel(TABS, {
  page: host.page, root: host.root, store, data: host.data,
  now: () => new Date(),
  async typeset(element) {
    const MathJax = /** @type {any} */ (window).MathJax;
    if (!element.querySelector(".math") || !MathJax?.startup) return;
    await MathJax.startup.promise;
    await MathJax.typesetPromise([element]);
  },
});

/** What stands in each section's line. */
function tellStanding() {
  for (const details of document.querySelectorAll(".mlc-check")) {
    const found = ctx.page.sections.find((s) => s.id === /** @type {HTMLElement} */ (details).dataset.section);
    const place = details.querySelector(".mlc-standing");
    if (found && place) place.textContent = ` · ${quiz.standing(found.questions, store.state)}`;
  }
}
store.subscribe(tellStanding);
window.addEventListener("storage", (event) => { if (event.key === KEY || event.key === null) store.refresh(); });
tellStanding();

host.made = Object.assign(ctx, {
  /** @param {HTMLElement} holder @param {string} section */
  questions: (holder, section) => quiz.section(holder, ctx, section),
});
watch(ctx);
const place = document.getElementById("mlsys-companion-dashboard");
if (place) dashboard(place, ctx);
