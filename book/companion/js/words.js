/** Texts in the language of the page, which brings its own words (book/locale, by the build); English where it brings none. */

/** @type {Record<string, string>|null} */
let brought = null;

/**
 * @param {string} text  English, with {1}, {2} for what is known only now
 * @param {...(string|number)} values
 * @returns {string}
 */
export function _(text, ...values) {
  brought ??= /** @type {Record<string, string>} */ (JSON.parse(globalThis.document?.getElementById("mls-words")?.textContent ?? "{}"));
  return (brought[text] ?? text).replace(/\{(\d)\}/g, (_place, n) => String(values[Number(n) - 1]));
}

/** How a text that has no translation is marked. @param {Record<string, any>} attributes */
export const inEnglish = (attributes) => ({ ...attributes, lang: "en" });

/**
 * "1 card", "5 cards".
 * @param {number} count
 * @param {string} one
 */
export const counted = (count, one) => _(`{1} ${one}${count === 1 ? "" : "s"}`, count);
