/** Numbers that a reader types, and what is wrong with them. */

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
  if (!given) return plain(text.trim() ? "Type a number, such as 12.5 or 3e8." : "Type a number first.", false);
  const factor = units[given.unit] ?? units[given.unit.replace(/\s+/g, "")];
  if (factor === undefined) return plain(`The unit “${given.unit}” does not fit: the answer is ${unit ? `in ${unit}` : "a plain number"}.`, false);
  const number = given.value * factor;
  if (counts(number, value, tolerance)) return { right: true, why: question.why ?? "", html: true, read: true };
  const mistake = question.mistakes?.find((m) => counts(number, m.value, Math.max(tolerance, 0.005)));
  if (mistake) return { right: false, why: mistake.why, html: true, read: true };
  if (value && number && Math.sign(value) === -Math.sign(number) && counts(-number, value, tolerance)) return plain("The size is right, the sign is not.");
  for (const [power, words] of /** @type {[number, string][]} */ ([[3, "a thousand"], [6, "a million"], [9, "a billion"], [2, "a hundred"], [1, "ten"]])) {
    for (const side of [power, -power]) {
      if (counts(number / 10 ** side, value, tolerance)) return plain(`The digits are right; it is off by a factor of ${words}. Look at the units.`);
    }
  }
  if (value > 0 && number > 0) {
    const ratio = number / value;
    if (ratio < 1.25 && ratio > 0.8) return plain(`Close, and too ${ratio > 1 ? "large" : "small"}.`);
    return plain(`It is too ${ratio > 1 ? "large" : "small"}${ratio > 3 || ratio < 1 / 3 ? " by more than a factor of three" : ""}.`);
  }
  return plain("That is not it.");
}
