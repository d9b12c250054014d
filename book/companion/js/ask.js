/** Ask the book: passages that answer, each with its place, or the word that the book does not answer. */
import { Book } from "./bm25.js";
import { el } from "./dom.js";
import { cited, EndpointError, keepKey, messages, readKey, stream, address } from "./endpoint.js";
import { explain, next, quizMe } from "./select.js";
import { _, inEnglish } from "./words.js";

/** @typedef {import("./types.js").Context} Context */
/** @typedef {import("./bm25.js").Answer} Answer */

/** @type {Promise<Book>|null} */
let loading = null;
let last = "";

/** The index, loaded at the first question. @param {Context} ctx @returns {Promise<Book>} */
export function book(ctx) {
  loading ??= ctx.data("passages").then((data) => new Book(data));
  loading.catch(() => { loading = null; });
  return loading;
}

/** Where a passage stands. @param {Context} ctx @param {{page: string, anchor: string}} at */
export const href = (ctx, at) => `${ctx.root}${at.page}.html#${encodeURIComponent(at.anchor)}`;

/**
 * A link to a passage; on a small screen the panel makes way for it.
 * @param {Context} ctx @param {{page: string, anchor: string}} at @param {...(Node|string)} inside
 */
export function link(ctx, at, ...inside) {
  return el("a", { href: href(ctx, at), click: () => { if (innerWidth < 1400) ctx.close(); } }, ...inside);
}

/** One passage with its place. @param {Context} ctx @param {Answer} answer @param {number} n */
export function passage(ctx, answer, n) {
  return el("li", { class: "mlc-passage", id: `mlc-p${n}` },
    el("blockquote", inEnglish({}), answer.text),
    el("p", { class: "mlc-note" }, `[P${n}] `, link(ctx, answer, `${answer.chapter}, ${answer.heading}`)));
}

/** @type {import("./types.js").Tab} */
export const tab = {
  id: "ask", title: _("Ask"), order: 30,
  async render(holder, ctx, options) {
    if (options.explain) return explain(holder, ctx, options.explain);
    if (options.quiz) return quizMe(holder, ctx, options.quiz);
    if (options.next) return next(holder, ctx, options.next);
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "search", id: "mlc-question", autocomplete: "off", value: last, required: true, maxlength: 300 }));
    const place = el("div", {});
    holder.append(
      el("form", { class: "mlc-askform", role: "search", submit: (/** @type {Event} */ event) => { event.preventDefault(); answer(); } },
        el("label", { for: "mlc-question" }, _("Ask the book")),
        el("div", { class: "mlc-row" }, input, el("button", { type: "submit", class: "mlc-button" }, _("Ask")))),
      place, settings(ctx));
    if (options.question) input.value = options.question;
    if (input.value) await answer();
    else await examples();

    async function answer() {
      last = input.value.trim();
      if (last) await reply(place, ctx, last);
    }

    async function examples() {
      const found = Object.entries((await book(ctx)).data.asked).filter(([key]) => key.startsWith(`${ctx.page.file}#`)).map(([, texts]) => texts[0]);
      const shown = found.slice(1, 4);
      place.replaceChildren(el("p", { class: "mlc-note" }, _("Answers are passages of the written chapters, found on this machine. Nothing you type is sent anywhere.")),
        ...(shown.length ? [el("p", {}, _("For example:")), el("ul", {}, ...shown.map((q) => el("li", {},
          el("button", inEnglish({ type: "button", class: "mlc-example", click: () => { input.value = q; answer(); } }), q))))] : []));
    }
  },
};

/** @param {HTMLElement} place @param {Context} ctx @param {string} question */
async function reply(place, ctx, question) {
  const found = (await book(ctx)).ask(question);
  if (!found.answered) {
    const words = found.unknown.length ? ` ${_("It never uses {1}.", found.unknown.map((w) => `“${w}”`).join(_(", ")))}` : "";
    place.replaceChildren(el("p", { class: "mlc-refused" }, el("strong", {}, _("The book does not answer this.")), words),
      el("p", { class: "mlc-note" }, _("Put it in other words, or search all pages, outlines among them:"), " ", el("a", { href: `${ctx.root}search.html?q=${encodeURIComponent(question)}` }, _("search all pages"))));
    ctx.say(_("The book does not answer this."));
    return;
  }
  place.replaceChildren(el("ol", { class: "mlc-passages" }, ...found.answers.map((a, i) => passage(ctx, a, i + 1))));
  offer(place, ctx, question, found.answers);
  ctx.say(_("{1} passages, the first from {2}.", found.answers.length, `${found.answers[0].chapter}, ${found.answers[0].heading}`));
}

/** The reader's settings of a model, or null while there are none. @param {Context} ctx */
function endpoint(ctx) {
  const kept = ctx.store.state.settings.endpoint;
  return typeof kept?.url === "string" && kept.url && typeof kept.model === "string" ? { url: kept.url, model: kept.model } : null;
}

/**
 * A button that asks the reader's own model about passages, if there is one.
 * @param {HTMLElement} place @param {Context} ctx @param {string} question @param {Answer[]} passages
 */
export function offer(place, ctx, question, passages) {
  const chosen = endpoint(ctx);
  if (!chosen) return;
  const told = el("div", { class: "mlc-model", "aria-live": "polite", "aria-busy": "false" });
  /** @type {AbortController|null} */
  let running = null;
  const stop = el("button", { type: "button", class: "mlc-button mlc-quiet", hidden: true, click: () => running?.abort() }, "Stop");
  const go = el("button", { type: "button", class: "mlc-button", click: run }, `Ask ${chosen.model}`);
  place.append(el("div", { class: "mlc-row" }, go, stop), el("p", { class: "mlc-note" },
    `Sends the question and these ${passages.length} passages to ${new URL(chosen.url).host}.`), told);

  async function run() {
    if (!chosen || running) return;
    running = new AbortController();
    stop.hidden = false;
    told.setAttribute("aria-busy", "true");
    const text = el("p", { class: "mlc-written" });
    told.replaceChildren(text);
    let all = "", trouble = "";
    try {
      for await (const more of stream({ ...chosen, key: readKey(chosen.url).key }, messages(question, passages), { signal: running.signal })) {
        all += more;
        text.textContent = all;
      }
    } catch (error) {
      trouble = error instanceof EndpointError ? error.message : String(error);
    }
    const stopped = running.signal.aborted;
    running = null;
    stop.hidden = true;
    show(told, ctx, all, passages, trouble, stopped);
    told.setAttribute("aria-busy", "false");
  }
}

/** The whole answer, with citations checked. @param {HTMLElement} told @param {Context} ctx @param {string} all @param {Answer[]} passages @param {string} trouble @param {boolean} stopped */
function show(told, ctx, all, passages, trouble, stopped) {
  const { parts, verified, unverified } = cited(all, passages);
  const text = el("p", { class: "mlc-written" });
  for (const part of parts) {
    if ("text" in part) text.append(part.text);
    else if (part.passage) text.append(link(ctx, /** @type {Answer} */ (part.passage), `[${part.cite}]`));
    else text.append(el("span", { class: "mlc-unverified" }, `[${part.cite}: unverified]`));
  }
  /** @type {(HTMLElement|string)[]} */
  const rest = [];
  if (trouble) rest.push(el("p", { class: "mlc-problem" }, trouble));
  if (stopped) rest.push(el("p", { class: "mlc-note" }, "Stopped."));
  if (all && !verified && !stopped && !trouble) rest.push(el("p", { class: "mlc-problem" }, "This answer cites none of the passages. Nothing in it has been checked against the book."));
  if (unverified.length) rest.push(el("p", { class: "mlc-problem" }, `${unverified.join(", ")}: no passage of that name was sent. Do not rely on what is said there.`));
  if (verified) rest.push(el("p", { class: "mlc-note" }, "Citations lead to passages that were sent. Whether a passage says what is claimed is for you to read."));
  told.replaceChildren(...(all ? [text] : []), ...rest);
}

/** @param {Context} ctx */
function settings(ctx) {
  const kept = endpoint(ctx), { key, remembered } = readKey(kept?.url ?? "");
  const field = (/** @type {string} */ id, /** @type {string} */ label, /** @type {Record<string, any>} */ attributes) => {
    const input = /** @type {HTMLInputElement} */ (el("input", { id, autocomplete: "off", spellcheck: "false", ...attributes }));
    return [input, el("p", {}, el("label", { for: id }, label), input)];
  };
  const [url, urlRow] = field("mlc-url", "Address", { type: "url", value: kept?.url ?? "", placeholder: "http://localhost:11434/v1" });
  const [model, modelRow] = field("mlc-model", "Model", { type: "text", value: kept?.model ?? "" });
  const [secret, secretRow] = field("mlc-key", "Key, if it wants one", { type: "password", value: key });
  const remember = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", id: "mlc-remember", checked: remembered }));
  const told = el("p", { role: "status" });
  return el("details", inEnglish({ class: "mlc-settings" }), el("summary", {}, kept ? `Your own model: ${kept.model}` : "Your own model (off)"),
    el("p", { class: "mlc-note" }, "Any OpenAI-compatible address, such as a model on this machine. It gets a question and the passages found for it, when you press its button. "
      + "Address and model stay in this browser; the key stays in this tab and is in no export. The endpoint has to allow requests from this page (CORS), and a content "
      + "security policy of this site has to name it in connect-src."),
    el("form", { novalidate: true, submit: save }, /** @type {HTMLElement} */ (urlRow), /** @type {HTMLElement} */ (modelRow), /** @type {HTMLElement} */ (secretRow),
      el("p", {}, remember, " ", el("label", { for: "mlc-remember" }, "Remember the key in this browser")),
      el("div", { class: "mlc-row" }, el("button", { type: "submit", class: "mlc-button" }, "Use it"),
        el("button", { type: "button", class: "mlc-button mlc-quiet", click: forget }, "Forget it"))), told);

  /** @param {Event} event */
  function save(event) {
    event.preventDefault();
    const at = /** @type {HTMLInputElement} */ (url), named = /** @type {HTMLInputElement} */ (model);
    try {
      address(at.value);
      if (!named.value.trim()) throw new EndpointError("name a model as well");
      keepKey(/** @type {HTMLInputElement} */ (secret).value.trim(), remember.checked, at.value.trim());
    } catch (error) {
      told.textContent = `Not used: ${error instanceof Error ? error.message : error}.`;
      return;
    }
    ctx.store.change((state) => { state.settings.endpoint = { url: at.value.trim(), model: named.value.trim() }; });
    ctx.open("ask", last ? { question: last } : {});
    ctx.say(`${named.value.trim()} can be asked now.`);
  }

  function forget() {
    ctx.store.change((state) => { delete state.settings.endpoint; });
    keepKey("", false, "");
    ctx.open("ask");
    ctx.say("Forgotten.");
  }
}
