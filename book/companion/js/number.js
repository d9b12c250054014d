/** Numbers that a reader types, and what is wrong with them. */

import { _ } from "./words.js";

/**
 * "12.5 ms" -> {value, unit}; a decimal comma, commas that part thousands, 1e9, 3×10^8 are read. null if there is no number.
 * @param {string} text
 */
export function read(text) {
  const plain = text.trim().replace(/[\u2212\u2013]/g, "-").replace(/[\u00a0\u202f]/g, " ")
    .replace(/\s*[×x*]\s*10\s*\^?\s*\(?(-?\d+)\)?/i, "e$1");
  const found = /^([+-]?)(\d{1,3}(?:[, ]\d{3})+(?:\.\d*)?|\d+(?:[.,]\d*)?|[.,]\d+)(e[+-]?\d+)?\s*(.*)$/i.exec(plain);
  if (!found) return null;
  const [, sign, digits, exponent, unit] = found;
  const grouped = /^\d{1,3}([, ]\d{3})+(\.\d*)?$/.test(digits);
  const value = Number(`${sign}${grouped ? digits.replace(/[, ]/g, "") : digits.replace(",", ".")}${exponent ?? ""}`);
  return Number.isFinite(value) ? { value, unit: unit.trim() } : null;
}

/** As mlsysbook/companion/content.py counts. @param {number} given @param {number} value @param {number} tolerance */
export function counts(given, value, tolerance) {
  return Math.abs(given - value) <= (tolerance + 1e-9) * Math.abs(value);
}

/**
 * @param {import("./types.js").Question} question
 * @param {string} text
 * @returns {{right: boolean, why: string, html: boolean, read: boolean}}  read: whether it was a number in a unit that is known
 */
export function judge(question, text) {
  const { value = 0, tolerance = 0, units = { "": 1 }, unit = "" } = question;
  const given = read(text);
  const plain = (/** @type {string} */ why, known = true) => ({ right: false, why, html: false, read: known });
  if (!given) return plain(text.trim() ? _("Type a number, such as 12.5 or 3e8.") : _("Type a number first."), false);
  const factor = units[given.unit] ?? units[given.unit.replace(/\s+/g, "")];
  if (factor === undefined) return plain(unit ? _("The unit “{1}” does not fit: the answer is in {2}.", given.unit, unit) : _("The unit “{1}” does not fit: the answer is a plain number.", given.unit), false);
  const number = given.value * factor;
  if (counts(number, value, tolerance)) return { right: true, why: question.why ?? "", html: true, read: true };
  const mistake = question.mistakes?.find((m) => counts(number, m.value, Math.max(tolerance, 0.005)));
  if (mistake) return { right: false, why: mistake.why, html: true, read: true };
  if (value && number && Math.sign(value) === -Math.sign(number) && counts(-number, value, tolerance)) return plain(_("The size is right, the sign is not."));
  for (const [power, words] of /** @type {[number, string][]} */ ([[3, "1,000"], [6, "1,000,000"], [9, "1,000,000,000"], [2, "100"], [1, "10"]])) {
    for (const side of [power, -power]) {
      if (counts(number / 10 ** side, value, tolerance)) return plain(_("The digits are right; it is off by a factor of {1}. Look at the units.", words));
    }
  }
  if (value > 0 && number > 0) {
    const ratio = number / value;
    if (ratio < 1.25 && ratio > 0.8) return plain(ratio > 1 ? _("Close, and too large.") : _("Close, and too small."));
    if (ratio > 1) return plain(ratio > 3 ? _("It is too large by more than a factor of three.") : _("It is too large."));
    return plain(ratio < 1 / 3 ? _("It is too small by more than a factor of three.") : _("It is too small."));
  }
  return plain(_("That is not it."));
}
