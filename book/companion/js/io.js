/** Progress as one file, out and in. `mlsys review` reads and writes the same file. */
import { el } from "./dom.js";
import { check, merge, size } from "./state.js";
import { _, counted } from "./words.js";

/**
 * What a file holds of a state: all but a model of one's own, whose address stays in its browser and is entered there by hand.
 * @param {import("./types.js").State} state
 * @returns {import("./types.js").State}
 */
function portable(state) {
  const settings = { ...state.settings };
  delete settings.endpoint;
  return { ...state, settings };
}

/**
 * The file's text.
 * @param {import("./types.js").State} state
 */
export function written(state) {
  return JSON.stringify(portable(state), null, 1) + "\n";
}

/**
 * What a file holds, put together with a state -> [new state, what came in, in words]. Throws an Error that says what is wrong.
 * @param {string} text
 * @param {import("./types.js").State} state
 * @returns {[import("./types.js").State, string]}
 */
export function taken(text, state) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  const made = merge(state, portable(check(value))), before = size(state), after = size(made);
  const answers = after.answers - before.answers, reviews = after.reviews - before.reviews;
  return [made, answers + reviews ? _("{1} and {2} came in; nothing that was here is lost.", counted(answers, "answer"), counted(reviews, "review"))
    : _("All that the file holds was here already.")];
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "data", title: _("Data"), order: 50,
  render(holder, ctx) {
    const told = el("p", { role: "status" });
    const kept = size(ctx.store.state);
    const file = /** @type {HTMLInputElement} */ (el("input", { type: "file", id: "mlc-file", accept: ".json,application/json", change: take }));
    const sure = el("button", { type: "button", class: "mlc-button mlc-quiet", hidden: true, click: forget }, _("Yes, delete it all"));
    holder.append(
      el("p", {}, _("This browser holds {1} and {2}. They are kept here alone and sent nowhere.", counted(kept.answers, "answer"), counted(kept.reviews, "review")), " ",
        _("A browser may delete what a site keeps; a file is safe, and moves your progress to another machine, to JupyterLab or to “mlsys review”.")),
      el("div", { class: "mlc-row" }, el("button", { type: "button", class: "mlc-button", click: give }, _("Export to a file"))),
      el("p", {}, el("label", { for: "mlc-file" }, _("Import a file:"), " "), file),
      el("div", { class: "mlc-row" }, el("button", { type: "button", class: "mlc-button mlc-quiet", click: () => { sure.hidden = false; sure.focus(); } }, _("Delete my progress")), sure),
      told);

    function give() {
      const link = /** @type {HTMLAnchorElement} */ (el("a", { download: "mlsys-companion.json", href: URL.createObjectURL(new Blob([written(ctx.store.state)], { type: "application/json" })) }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      told.textContent = _("Exported as mlsys-companion.json.");
    }

    async function take() {
      const chosen = file.files?.[0];
      if (!chosen) return;
      try {
        const [, words] = taken(await chosen.text(), ctx.store.state);
        const read = check(JSON.parse(await chosen.text()));
        ctx.store.change((state) => Object.assign(state, merge(state, read)));
        told.textContent = words;
      } catch (error) {
        told.textContent = _("{1} is not taken: {2}. Nothing has changed.", chosen.name, error instanceof Error ? error.message : String(error));
      }
      file.value = "";
    }

    function forget() {
      ctx.store.clear();
      sure.hidden = true;
      told.textContent = ctx.store.problem ?? _("Deleted. Nothing of your progress is left in this browser.");
    }
  },
};
