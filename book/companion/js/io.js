/** Progress as one file, out and in. `mlsys review` reads and writes the same file. */
import { counted, el } from "./dom.js";
import { check, merge, size } from "./state.js";

/**
 * The file's text.
 * @param {import("./types.js").State} state
 */
export function written(state) {
  return JSON.stringify(state, null, 1) + "\n";
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
  const made = merge(state, check(value)), before = size(state), after = size(made);
  const answers = after.answers - before.answers, reviews = after.reviews - before.reviews;
  return [made, answers + reviews ? `${counted(answers, "answer")} and ${counted(reviews, "review")} came in; nothing that was here is lost.`
    : "All that the file holds was here already."];
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "data", title: "Data", order: 50,
  render(holder, ctx) {
    const told = el("p", { role: "status" });
    const kept = size(ctx.store.state);
    const file = /** @type {HTMLInputElement} */ (el("input", { type: "file", id: "mlc-file", accept: ".json,application/json", change: take }));
    const sure = el("button", { type: "button", class: "mlc-button mlc-quiet", hidden: true, click: forget }, "Yes, delete it all");
    holder.append(
      el("p", {}, `This browser holds ${counted(kept.answers, "answer")} and ${counted(kept.reviews, "review")}. They are kept here alone and sent nowhere. `
        + "A browser may delete what a site keeps; a file is safe, and moves your progress to another machine, to JupyterLab or to “mlsys review”."),
      el("div", { class: "mlc-row" }, el("button", { type: "button", class: "mlc-button", click: give }, "Export to a file")),
      el("p", {}, el("label", { for: "mlc-file" }, "Import a file: "), file),
      el("div", { class: "mlc-row" }, el("button", { type: "button", class: "mlc-button mlc-quiet", click: () => { sure.hidden = false; sure.focus(); } }, "Delete my progress"), sure),
      told);

    function give() {
      const link = /** @type {HTMLAnchorElement} */ (el("a", { download: "mlsys-companion.json", href: URL.createObjectURL(new Blob([written(ctx.store.state)], { type: "application/json" })) }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      told.textContent = "Exported as mlsys-companion.json.";
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
        told.textContent = `${chosen.name} is not taken: ${error instanceof Error ? error.message : error}. Nothing has changed.`;
      }
      file.value = "";
    }

    function forget() {
      ctx.store.clear();
      sure.hidden = true;
      told.textContent = ctx.store.problem ?? "Deleted. Nothing of your progress is left in this browser.";
    }
  },
};
