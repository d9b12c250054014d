/**
 * On every page: a button, a line at the end of each section with questions, and nothing else until one of them is used. What the page
 * is about stands in its head as JSON, written by the build.
 */
import { _, counted } from "./words.js";

(() => {
  const info = document.getElementById("mlsys-companion");
  if (!info || !document.querySelector("article")) return;
  /** @type {import("./types.js").Page} */
  const page = JSON.parse(info.textContent ?? "");
  const root = page.root;
  /** @type {Record<string, any>} */
  const arrived = {};
  /** @type {Promise<any>|null} */
  let begun = null;

  /** @param {string} name */
  function script(name) {
    return new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = `${page.own?.names.includes(name) ? page.own.from : root}_static/companion/${name}.js`;
      tag.onload = () => resolve(undefined);
      tag.onerror = () => reject(new Error(`${name}.js of the companion cannot be loaded`));
      document.head.append(tag);
    });
  }

  const companion = {
    page, root,
    /** @param {string} name @param {any} value */
    put(name, value) { arrived[name] = value; },
    /** @param {string} name */
    async data(name) {
      if (!(name in arrived)) await script(name);
      return arrived[name];
    },
    /** The companion itself, loaded once -> its context. */
    start() {
      begun ??= script("companion").then(() => companion.made);
      return begun;
    },
    /** @type {any} */
    made: null,
  };
  /** @type {any} */ (window).mlsysCompanion = companion;

  /** @param {(ctx: any) => void} use */
  async function withContext(use) {
    let ctx;
    try {
      ctx = await companion.start();
    } catch (error) {
      begun = null;
      alert(_("{1}. Load the page again.", error instanceof Error ? error.message : String(error)));
      return;
    }
    use(ctx);
  }

  /** @param {string} text */
  function standing(text) {
    return Object.assign(document.createElement("span"), { textContent: text, className: "mlc-standing" });
  }

  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm mlc-open";
  button.textContent = _("Companion");
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", "mlc-panel");
  button.addEventListener("click", () => withContext((ctx) => ctx.toggle()));
  (document.querySelector(".article-header-buttons") ?? document.body).prepend(button);

  for (const section of page.sections) {
    const place = document.getElementById(section.id);
    if (!place || !section.questions.length) continue;
    const details = document.createElement("details");
    details.className = "mlc-check";
    details.dataset.section = section.id;
    const summary = document.createElement("summary");
    const count = section.questions.length;
    summary.append(_("Check yourself"), standing(` · ${counted(count, "question")}`));
    const inside = document.createElement("div");
    details.append(summary, inside);
    details.addEventListener("toggle", () => {
      if (details.open && !inside.childElementCount) withContext((ctx) => ctx.questions(inside, section.id));
    });
    place.append(details);
  }

  // Someone who has answered before sees it on every page; the key is that of state.js.
  let known = null;
  try {
    known = localStorage.getItem("mlsys-companion");
  } catch { /* the companion says so when it is opened */ }
  if (known || document.getElementById("mlsys-companion-dashboard")) withContext(() => {});

  document.addEventListener("selectionchange", function selected() {
    const chosen = getSelection(), text = chosen?.toString().trim() ?? "";
    const parent = chosen?.anchorNode?.parentElement;
    if (text.length < 12 || !parent?.closest("article") || parent.closest(".mlc-check, input, textarea")) return;
    document.removeEventListener("selectionchange", selected);
    withContext(() => {});
  });
})();
