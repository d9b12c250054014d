/**
 * Shapes that modules share. Nothing here runs.
 *
 * @typedef {{at: string, given: (number[]|string), right: boolean}} Answer   at: ISO time; given: choices by their number, or what was typed
 * @typedef {{at: string, day: string, rating: number}} Review               day: the reader's date, "2027-01-25"; rating 1 Again to 4 Easy
 * @typedef {{version: number, answers: Record<string, Answer[]>, reviews: Record<string, Review[]>, settings: Record<string, any>}} State
 *
 * @typedef {{n: number, text: string, right: boolean, why: string}} Choice
 * @typedef {{id: string, section: string, kind: "choice"|"many"|"number", level: number, ask: string, choices?: Choice[], value?: number,
 *   tolerance?: number, unit?: string, units?: Record<string, number>, shown?: string, why?: string,
 *   mistakes?: {value: number, why: string}[]}} Question
 * @typedef {{id: string, section: string, front: string, back: string}} Card
 * @typedef {{chapter: string, title: string, file: string, sections: {id: string, title: string}[], questions: Question[], cards: Card[]}} Chapter
 *
 * @typedef {{id: string, title: string, questions: string[]}} PageSection
 * @typedef {{chapter: string|null, title: string, file: string, sections: PageSection[], cards: number, root: string,
 *   own?: {from: string, names: string[]}}} Page      own: what a translated page has in its language, and from where
 * @typedef {{number: string, title: string, file: string, volume: number, requires: string[], written: boolean,
 *   terms: {term: string, meaning: string}[], sections: PageSection[], cards: string[]}} CourseChapter
 * @typedef {{chapters: CourseChapter[]}} Course
 *
 * @typedef {object} Context
 * @property {Page} page
 * @property {string} root        the way from this page to the site's root, such as "../"
 * @property {import("./state.js").Store} store
 * @property {(name: string) => Promise<any>} data      what the build wrote under that name; loaded once
 * @property {(tab: string, options?: Record<string, any>) => void} open      shows the panel at a tab
 * @property {() => void} close
 * @property {(text: string) => void} say      for readers of the screen, politely
 * @property {(element: Element) => Promise<void>} typeset      math of what was just put into the page
 * @property {() => Date} now
 *
 * @typedef {object} Tab
 * @property {string} id
 * @property {string} title
 * @property {number} order
 * @property {(holder: HTMLElement, ctx: Context, options: Record<string, any>) => void|Promise<void>} render      called when the tab is shown, with an empty holder
 */
export {};
