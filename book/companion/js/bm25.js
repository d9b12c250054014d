/**
 * The passages of the book, ready to be asked: BM25 with other names of one thing and with questions that a section is known to answer.
 * mlsysbook/companion/ask.py does the same, and a test holds both to the same ranks and scores, which no library for the browser shares
 * with one for Python. Stopwords and parameters come with the index, so that they are written once.
 */
import { stemmer } from "../../_vendor/node_modules/stemmer/index.js";

/**
 * @typedef {{id: string, heading: string, text: string}} Passage
 * @typedef {{id: string, term: string, meaning: string, page: string}} Term
 * @typedef {{version: number, language: string, chapters: Record<string, {number: string, title: string}>, passages: Passage[], terms: Term[],
 *   asked: Record<string, string[]>, names: string[][], stopwords: string[],
 *   parameters: {k1: number, b: number, floor: number, phrase: number, other: number, together: number, threshold: number, answers: number, share: number}}} Index
 * @typedef {{score: number, coverage: number, i: number}} Found
 * @typedef {{id: string, page: string, anchor: string, chapter: string, heading: string, text: string, whole: string, score: number, coverage: number}} Answer
 * @typedef {{question: string, answered: boolean, answers: Answer[], evidence: number, coverage: number, unknown: string[]}} Reply
 */

const BRIEF = 40;          // words of an extract, where the passage has them
const WORD = /[\p{L}\p{N}]+/gu;
const CJK = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+/g;
const SENTENCE = /(?:(?<=[.!?])|(?<=[.!?][”’»")\]]))\s+(?=[“‘«"([]?[^\sa-z])|(?<=[。！？])(?=\S)/;

/**
 * Words of a text in lower case; a run of Chinese, Japanese or Korean characters becomes its overlapping pairs.
 * @param {string} text
 */
export function words(text) {
  /** @type {string[]} */
  const found = [];
  const latin = (/** @type {string} */ word) => { if (word.length > 1 || /^\p{Nd}$/u.test(word)) found.push(word); };
  for (const [word] of text.normalize("NFKC").toLowerCase().replaceAll("’", "'").replace(/'s(?![\p{L}\p{N}_])/gu, "").matchAll(WORD)) {
    let at = 0;
    for (const run of word.matchAll(CJK)) {
      latin(word.slice(at, run.index));
      for (let i = 0; i < Math.max(1, run[0].length - 1); i++) found.push(run[0].slice(i, i + 2));
      at = run.index + run[0].length;
    }
    latin(word.slice(at));
  }
  return found;
}

/**
 * Porter's stem of an English word; anything else stays as it is. -bly and -logy are taken off first, as in Python.
 * @param {string} word
 */
export function stem(word) {
  return /^[a-z]{3,}$/.test(word) ? stemmer(word.replace(/bly$/, "ble").replace(/logy$/, "log")) : word;
}

/** @param {string} text */
export const stems = (text) => words(text).map(stem);

/** @param {string} text */
export const sentences = (text) => text.split(SENTENCE).filter(Boolean);

/** @param {string[]} list @returns {Map<string, number>} */
function counted(list) {
  const count = new Map();
  for (const s of list) count.set(s, (count.get(s) ?? 0) + 1);
  return count;
}

/** @param {number[]} numbers */
const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / Math.max(1, numbers.length);

/** @param {string} id */
export const sectionOf = (id) => id.slice(0, id.lastIndexOf("/"));

export class Book {
  /** @param {Index} data */
  constructor(data) {
    if (data.version !== 2) throw new Error(`the index of passages has version ${data.version}, wants 2: build the book again`);
    this.data = data;
    this.parameters = data.parameters;
    this.passages = data.passages;
    this.stopwords = new Set(data.stopwords);
    this.sections = data.passages.map((p) => sectionOf(p.id));
    const named = [...data.names.flat(), ...data.terms.flatMap((t) => t.term.split(/[,()]/))].map(stems);
    /** Names of several words: what they mean together is not what they mean apart. */
    this.phrases = new Set(named.filter((s) => s.length === 2 || s.length === 3).map((s) => s.join(" ")));
    this.counts = data.passages.map((p) => counted(this.tokens(`${p.heading} ${p.text}`)));
    const sizes = this.counts.map((c) => [...c.values()].reduce((a, b) => a + b, 0)), middle = mean(sizes);
    this.lengths = sizes.map((n) => Math.max(n / middle, this.parameters.floor));
    this.frequency = counted(this.counts.flatMap((c) => [...c.keys()]));
    /** @type {[string[], string[]][]} a name, another name */
    this.others = [];
    for (const group of data.names.map((names) => names.map(stems)))
      for (const a of group) for (const b of group) if (a.join(" ") !== b.join(" ")) this.others.push([a, b]);
    const terms = new Map(data.terms.map((t) => [t.id, t.term]));
    /** @type {Map<number, string[][]>} lines of the glossary: the names of their term */
    this.defined = new Map();
    for (const [i, p] of data.passages.entries()) {
      const term = terms.get(p.id);
      if (term !== undefined) this.defined.set(i, term.split(/[,()]/).map(stems).filter((n) => n.length));
    }
    /** @type {[string, Map<string, number>[]][]} */
    const asked = Object.entries(data.asked).map(([key, texts]) => [key, texts.map((t) => new Map(this.informative(t).map((s) => [s, 1])))]);
    const usual = mean(asked.flatMap(([, of]) => of.map((s) => s.size)));
    /** @type {[string, {stems: Map<string, number>, length: number}[]][]} */
    this.asked = asked.map(([key, of]) => [key, of.map((s) => ({ stems: s, length: s.size / usual }))]);
    const texts = asked.map(([key, of]) => ({ key, tokens: of.flatMap((s) => [...s.keys()]) })), long = mean(texts.map((t) => t.tokens.length));
    /** All questions of a section as one text. @type {Map<string, {stems: Map<string, number>, length: number}>} */
    this.together = new Map(texts.map((t) => [t.key, { stems: counted(t.tokens), length: Math.max(t.tokens.length / long, this.parameters.floor) }]));
  }

  /** Stems of a text in their order, then the phrases in it. @param {string} text */
  tokens(text) {
    const found = stems(text), runs = [];
    for (const n of [2, 3]) for (let i = 0; i + n <= found.length; i++) runs.push(found.slice(i, i + n).join(" "));
    return [...found, ...runs.filter((run) => this.phrases.has(run))];
  }

  /** Tokens of a text that are no stopwords, each once: phrases last. @param {string} text */
  informative(text) {
    const dull = new Set(words(text).filter((w) => this.stopwords.has(w)).map(stem));
    return [...new Set(this.tokens(text).filter((t) => !dull.has(t)))];
  }

  /** @param {string} s */
  idf(s) {
    const n = this.frequency.get(s) ?? 0;
    return Math.log(1 + (this.passages.length - n + 0.5) / (n + 0.5));
  }

  /** Stem -> other names of what it names. @param {string} question @returns {Map<string, string[][]>} */
  query(question) {
    const kept = this.informative(question).filter((t) => !t.includes(" ")), all = new Set(kept);
    return new Map(kept.map((s) => [s, this.others.filter(([name]) => name.includes(s) && name.every((t) => all.has(t))).map(([, other]) => other)]));
  }

  /** @param {Map<string, number>} weights @param {Map<string, number>} count @param {number} length */
  bm25(weights, count, length) {
    const { k1, b } = this.parameters, scale = k1 * (1 - b + b * length);
    let sum = 0;
    for (const [s, w] of weights) {
      const n = count.get(s);
      if (n) sum += (w * n * (k1 + 1)) / (n + scale);
    }
    return sum;
  }

  /**
   * Passages that share words with a question, best first; equal scores in the order of the book.
   * @param {string} question
   * @returns {Found[]}
   */
  rank(question) {
    const query = this.query(question), weights = new Map([...query.keys()].map((s) => [s, 1])), { phrase, other } = this.parameters;
    for (const t of this.informative(question)) if (t.includes(" ")) weights.set(t, phrase);
    for (const name of [...query.values()].flat()) {
      for (const t of name) if (!weights.has(t)) weights.set(t, other);
      if (this.phrases.has(name.join(" ")) && !weights.has(name.join(" "))) weights.set(name.join(" "), phrase * other);
    }
    for (const [t, w] of weights) weights.set(t, w * this.idf(t));
    const told = new Map([...query.keys()].map((s) => [s, this.idf(s)])), total = [...told.values()].reduce((a, b) => a + b, 0);
    /** @type {Map<string, {score: number, stems: Map<string, number>}>} */
    const near = new Map();
    for (const [key, of] of this.asked) {
      let best = { score: -1, stems: new Map() };
      for (const { stems: s, length } of of) {
        const score = this.bm25(weights, s, length);
        if (score > best.score) best = { score, stems: s };
      }
      const all = this.together.get(key);
      near.set(key, { score: best.score + (all ? this.parameters.together * this.bm25(weights, all.stems, all.length) : 0), stems: best.stems });
    }
    /** @type {Found[]} */
    const found = [];
    for (const [i, count] of this.counts.entries()) {
      const names = this.defined.get(i);
      if (names && !names.some((name) => name.every((t) => weights.has(t)))) continue;
      const score = this.bm25(weights, count, this.lengths[i]);
      if (!(score > 0)) continue;
      const more = near.get(this.sections[i]);
      const has = (/** @type {string} */ t) => count.has(t) || Boolean(more && more.score > 0 && more.stems.has(t));
      let covered = 0;
      for (const [s, others] of query) if (has(s) || others.some((o) => o.every(has))) covered += told.get(s) ?? 0;
      found.push({ score: score + (more ? Math.max(0, more.score) : 0), coverage: covered / total, i });
    }
    return found.sort((a, b) => b.score - a.score || a.i - b.i);
  }

  /**
   * The best passage of each section, the best sections first, as long as they have their share of the evidence of the first.
   * @param {Found[]} ranked @param {number} most @param {Found} [first]
   */
  spread(ranked, most, first = ranked[0]) {
    const seen = new Set(), least = first ? this.parameters.share * first.score * first.coverage : 0;
    return ranked.filter((f) => f.score * f.coverage >= least && !seen.has(this.sections[f.i]) && seen.add(this.sections[f.i])).slice(0, most);
  }

  /** @param {string} question @returns {Reply} */
  ask(question) {
    const query = this.query(question), all = this.rank(question), ranked = all.slice(0, this.parameters.answers);
    const coverage = Math.max(0, ...ranked.map((f) => f.coverage)), evidence = coverage * Math.max(0, ...ranked.map((f) => f.score));
    const answered = evidence >= this.parameters.threshold;
    const strange = words(question).filter((w) => query.get(stem(w))?.length === 0 && !this.frequency.has(stem(w)));
    return { question, answered, answers: answered ? this.spread(all, this.parameters.answers).map((f) => this.answer(f, query)) : [], evidence, coverage, unknown: [...new Set(strange)] };
  }

  /** @param {Found} found @param {Map<string, string[][]>} query @returns {Answer} */
  answer(found, query) {
    const { id, heading, text } = this.passages[found.i];
    const [page, rest] = id.split("#"), chapter = this.data.chapters[page];
    return { id, page, anchor: sectionOf(rest), chapter: chapter ? `${chapter.number} ${chapter.title}` : "Glossary", heading,
      text: this.extract(text, query), whole: text, score: found.score, coverage: found.coverage };
  }

  /** The run of at most three sentences that fits a query best, with what stands before it where it would be short of words. @param {string} text @param {Map<string, string[][]>} query */
  extract(text, query, most = 3) {
    const parts = sentences(text), wanted = new Map();
    for (const [s, others] of query) for (const t of [s, ...others.flat()]) wanted.set(t, this.idf(s));
    const have = parts.map((p) => new Set(stems(p).filter((s) => wanted.has(s))));
    let best = -1, at = [0, 1];
    for (let first = 0; first < parts.length; first++) {
      for (let last = first + 1; last <= Math.min(parts.length, first + most); last++) {
        const all = [...new Set(have.slice(first, last).flatMap((h) => [...h]))].sort();
        const value = all.reduce((sum, t) => sum + wanted.get(t), 0) - 0.15 * (last - first);
        if (value > best + 1e-9) [best, at] = [value, [first, last]];
      }
    }
    let [first, last] = at;
    while (parts.slice(first, last).join(" ").split(/\s+/).length < BRIEF && last - first < parts.length) {
      if (first) first--;
      else last++;
    }
    return parts.slice(first, last).join(" ");
  }

  /** Terms of the glossary that a text names, the longest first. @param {string} text @returns {Term[]} */
  termsIn(text) {
    const line = ` ${stems(text).join(" ")} `;
    const named = (/** @type {string} */ term) => Math.max(0, ...term.split(/[,()]/).map((n) => stems(n).join(" ")).filter((n) => n && line.includes(` ${n} `)).map((n) => n.length));
    return this.data.terms.map((t) => ({ t, n: named(t.term) })).filter((x) => x.n).sort((a, b) => b.n - a.n).map((x) => x.t);
  }
}
