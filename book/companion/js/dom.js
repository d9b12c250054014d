/** Elements without innerHTML: whatever is a string becomes text. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]  `class`, `text`-free attributes; functions are listeners under their event's name
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  for (const child of children) if (child) made.append(child);
  return made;
}

/**
 * Put HTML that the build rendered into an element; never what a reader or a model wrote. It is English unless it says otherwise.
 * @template {Element} T
 * @param {T} element
 * @param {string} trusted
 * @returns {T}
 */
export function html(element, trusted) {
  element.innerHTML = trusted;
  if (!element.firstElementChild?.hasAttribute("lang")) element.setAttribute("lang", "en");
  return element;
}

/**
 * @param {string} tag
 * @param {Record<string, string|number>} attributes
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}
