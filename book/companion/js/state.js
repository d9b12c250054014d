/**
 * What a reader did: answers and reviews, each with its time, in this browser's localStorage. Both are lists that only grow, so two
 * states merge by putting them together, and no import can lose anything. Every change reads what is stored first: another tab may
 * have written. What cannot be kept is said in `problem`.
 */

/** @typedef {import("./types.js").State} State */

export const KEY = "mlsys-companion";
export const UNREADABLE = "mlsys-companion-unreadable";
export const VERSION = 1;
/** From version n to n + 1, at index n. @type {((old: any) => any)[]} */
const STEPS = [];

/** @returns {State} */
export const empty = () => ({ version: VERSION, answers: {}, reviews: {}, settings: {} });

export class NewerError extends Error {}

/**
 * A state from what was read, brought to this version. Throws an Error that says what is wrong.
 * @param {any} value
 * @param {((old: any) => any)[]} [ways]
 * @param {number} [version]
 * @returns {State}
 */
export function check(value, ways = STEPS, version = VERSION) {
  if (typeof value !== "object" || value === null || !Number.isInteger(value.version)) throw new Error("it is no progress of this book");
  if (value.version > version) throw new NewerError(`it has version ${value.version}, and this page knows ${version}: load the page again`);
  let state = value;
  for (let v = value.version; v < version; v++) {
    if (!ways[v]) throw new Error(`it has version ${value.version}, which this page cannot bring to ${version}`);
    state = { ...ways[v](state), version: v + 1 };
  }
  const made = { version, answers: lists(state.answers, "answers", isAnswer), reviews: lists(state.reviews, "reviews", isReview),
    settings: typeof state.settings === "object" && state.settings !== null ? state.settings : {} };
  return made;
}

/** @param {any} value @param {string} name @param {(entry: any) => boolean} good @returns {Record<string, any[]>} */
function lists(value, name, good) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`its ${name} are missing`);
  /** @type {Record<string, any[]>} */
  const made = Object.create(null);
  for (const [id, list] of Object.entries(value)) {
    if (!/^V[12]-\d\d\/[a-z0-9-]+$/.test(id)) throw new Error(`its ${name} have an unknown name ${JSON.stringify(id.slice(0, 40))}`);
    if (!Array.isArray(list) || !list.every(good)) throw new Error(`its ${name} of ${id} are damaged`);
    if (list.length) made[id] = list;
  }
  return { ...made };
}

/** @param {any} at */
const isTime = (at) => typeof at === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(at) && !Number.isNaN(Date.parse(at));
/** @param {any} a */
const isAnswer = (a) => a && isTime(a.at) && typeof a.right === "boolean"
  && (typeof a.given === "string" || (Array.isArray(a.given) && a.given.every(Number.isInteger)));
/** @param {any} r */
const isReview = (r) => r && isTime(r.at) && /^\d{4}-\d\d-\d\d$/.test(r.day) && !Number.isNaN(Date.parse(r.day)) && [1, 2, 3, 4].includes(r.rating);

/**
 * Both together: every answer and every review that either has, in the order of time; settings of the first go first.
 * @param {State} one
 * @param {State} other
 * @returns {State}
 */
export function merge(one, other) {
  return { version: VERSION, answers: union(one.answers, other.answers), reviews: union(one.reviews, other.reviews),
    settings: { ...other.settings, ...one.settings } };
}

/** @template {{at: string}} T @param {Record<string, T[]>} one @param {Record<string, T[]>} other @returns {Record<string, T[]>} */
function union(one, other) {
  /** @type {Record<string, T[]>} */
  const made = {};
  for (const id of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const known = new Map([...(other[id] ?? []), ...(one[id] ?? [])].map((entry) => [entry.at, entry]));
    made[id] = [...known.values()].sort((a, b) => a.at.localeCompare(b.at));
  }
  return made;
}

/** How much there is: {answers, reviews}. @param {State} state */
export function size(state) {
  /** @param {Record<string, any[]>} lists */
  const all = (lists) => Object.values(lists).reduce((sum, list) => sum + list.length, 0);
  return { answers: all(state.answers), reviews: all(state.reviews) };
}

export class Store {
  /** @param {Storage|null} storage  null: the browser gives none  @param {string} [why] */
  constructor(storage, why = "") {
    this.storage = storage;
    /** @type {string|null} what the reader must know about how progress is kept */
    this.problem = storage ? null : `This browser keeps nothing for this site${why ? ` (${why})` : ""}: your progress ends with this page. Export it to keep it.`;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.unsaved = !storage;
    this.locked = false;        // what is stored is newer than this page: never written over
    /** @type {string|null} */
    this.broken = null;         // text that is stored and cannot be read
    /** @type {State} */
    this.state = this.read() ?? empty();
    this.unsaved ||= this.locked;
  }

  /** The store of this browser. */
  static open() {
    try {
      const storage = window.localStorage;
      storage.getItem(KEY);
      return new Store(storage);
    } catch (error) {
      return new Store(null, error instanceof Error ? error.name : "");
    }
  }

  /** What is stored, or null where nothing is or it cannot be read. @returns {State|null} */
  read() {
    let text = null;
    try {
      text = this.storage?.getItem(KEY) ?? null;
      this.broken = null;
      return text === null ? null : check(JSON.parse(text));
    } catch (error) {
      const why = error instanceof SyntaxError ? "it is not JSON" : error instanceof Error ? error.message : String(error);
      this.locked = error instanceof NewerError;
      this.broken = text;
      this.problem = this.locked ? `The progress kept in this browser cannot be read: ${why}. Nothing is written over it.`
        : `The progress kept in this browser cannot be read: ${why}. It is set aside as “${UNREADABLE}”, and a new one begins.`;
      return null;
    }
  }

  /** @param {() => void} listener  @returns {() => void} ends it */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell() {
    for (const listener of this.listeners) listener();
  }

  /**
   * Change the state and keep it. What could not be kept before is kept now if that is possible again.
   * @param {(state: State) => void} alter
   */
  change(alter) {
    const stored = this.storage && !this.locked ? this.read() : null;
    const base = this.unsaved ? (stored ? merge(this.state, stored) : this.state) : stored ?? empty();
    const next = structuredClone(base);
    alter(next);
    this.state = next;
    this.write();
    this.tell();
  }

  write() {
    if (!this.storage || this.locked) {
      this.unsaved = true;
      return;
    }
    try {
      if (this.broken !== null) this.storage.setItem(UNREADABLE, this.broken);
      this.storage.setItem(KEY, JSON.stringify(this.state));
      if (this.unsaved) this.problem = null;
      this.broken = null;
      this.unsaved = false;
    } catch (error) {
      this.unsaved = true;
      const full = error instanceof DOMException && /quota/i.test(error.name);
      this.problem = `${full ? "The browser’s room for this site is full" : "The browser does not keep this"}: what you do from now on ends with this page. Export it to keep it.`;
    }
  }

  /** Another tab wrote. */
  refresh() {
    const stored = this.read();
    this.state = this.unsaved && stored ? merge(this.state, stored) : stored ?? (this.unsaved ? this.state : empty());
    this.tell();
  }

  /** Forget everything in this browser. */
  clear() {
    this.state = empty();
    this.unsaved = false;
    this.broken = null;
    try {
      if (!this.locked) this.storage?.removeItem(KEY);
    } catch (error) {
      this.problem = `The browser does not let go of what it keeps (${error instanceof Error ? error.name : error}).`;
    }
    this.tell();
  }
}
