/** The panel at the side of a page: tabs, a polite live region, Escape closes. */
import { el } from "./dom.js";
import { _ } from "./words.js";

/**
 * @param {import("./types.js").Tab[]} tabs
 * @param {Omit<import("./types.js").Context, "open"|"close"|"say">} base
 * @returns {import("./types.js").Context & {toggle: () => void}}
 */
export function panel(tabs, base) {
  const ordered = [...tabs].sort((a, b) => a.order - b.order);
  const live = el("div", { class: "mlc-live", role: "status", "aria-live": "polite" });
  const problem = el("p", { class: "mlc-problem", role: "alert", hidden: true });
  const holder = el("div", { class: "mlc-holder", role: "tabpanel", id: "mlc-tabpanel", tabindex: 0 });
  const list = el("div", { class: "mlc-tabs", role: "tablist", "aria-label": _("Companion") });
  const shut = el("button", { type: "button", class: "mlc-close", "aria-label": _("Close the companion"), click: () => close() }, "×");
  const aside = el("aside", { id: "mlc-panel", class: "mlc-panel", "aria-label": _("Companion"), hidden: true, keydown: escape },
    el("div", { class: "mlc-head" }, list, shut), problem, holder);
  /** @type {Map<string, HTMLElement>} */
  const buttons = new Map();
  for (const tab of ordered) {
    const button = el("button", { type: "button", role: "tab", id: `mlc-tab-${tab.id}`, "aria-controls": "mlc-tabpanel", "aria-selected": "false", tabindex: -1,
      click: () => open(tab.id), keydown: (/** @type {KeyboardEvent} */ event) => move(event, tab) }, tab.title);
    buttons.set(tab.id, button);
    list.append(button);
  }
  document.body.append(aside, live);
  /** @type {Element|null} */
  let before = null;
  let current = ordered[0].id;
  const opener = () => document.querySelector(".mlc-open");

  const ctx = { ...base, open, close, say, toggle: () => (aside.hidden ? open(current) : close()) };

  /** @param {string} id @param {Record<string, any>} [options] */
  async function open(id, options = {}) {
    const tab = ordered.find((t) => t.id === id) ?? ordered[0];
    if (aside.hidden) before = document.activeElement;
    const focus = aside.hidden || !aside.contains(document.activeElement);
    aside.hidden = false;
    document.documentElement.classList.add("mlc-with-panel");
    opener()?.setAttribute("aria-expanded", "true");
    current = tab.id;
    for (const [name, button] of buttons) {
      button.setAttribute("aria-selected", String(name === tab.id));
      button.tabIndex = name === tab.id ? 0 : -1;
    }
    holder.setAttribute("aria-labelledby", `mlc-tab-${tab.id}`);
    const inside = el("div", {});
    holder.replaceChildren(inside);
    warn();
    if (focus) buttons.get(tab.id)?.focus();
    try {
      await tab.render(inside, ctx, options);
    } catch (error) {
      inside.replaceChildren(el("p", { class: "mlc-problem", role: "alert" }, _("This cannot be shown: {1}.", error instanceof Error ? error.message : String(error))));
      console.error(error);
    }
  }

  function close() {
    if (aside.hidden) return;
    aside.hidden = true;
    document.documentElement.classList.remove("mlc-with-panel");
    opener()?.setAttribute("aria-expanded", "false");
    const back = before instanceof HTMLElement && before.isConnected && before !== document.body ? before : opener();
    if (back instanceof HTMLElement) back.focus();
  }

  /** @param {any} event */
  function escape(event) {
    if (event.key === "Escape") close();
  }

  /** Arrows move between tabs. @param {KeyboardEvent} event @param {import("./types.js").Tab} tab */
  function move(event, tab) {
    const at = ordered.indexOf(tab), last = ordered.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at ? at - 1 : last, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons.get(ordered[to].id)?.focus();
    open(ordered[to].id);
  }

  /** @param {string} text */
  function say(text) {
    live.textContent = "";
    requestAnimationFrame(() => { live.textContent = text; });
  }

  function warn() {
    problem.hidden = !base.store.problem;
    problem.textContent = base.store.problem ?? "";
  }
  base.store.subscribe(warn);
  return ctx;
}
