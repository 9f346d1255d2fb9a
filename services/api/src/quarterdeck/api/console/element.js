/**
 * Builds DOM nodes. The only way this page makes any: text goes in as text, never as markup, so that nothing a machine
 * prints can become an element. The server's policy (Trusted Types) refuses every other way.
 */

/**
 * @param {string} tag such as `button`, or `button.quiet.small` with classes.
 * @param {Object<string, *>} properties `on<event>`: a listener; `data`: data-attributes; everything else an attribute,
 *   left out when null, undefined or false.
 * @param {...(Node|string|null)} children strings become text nodes; null is skipped.
 */
export function element(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  node.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(node.dataset, value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Sets `node`'s text, touching the DOM only when it differs: a selection in it survives. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Makes `parent`'s children exactly `nodes`, in order, moving few: focus and scroll positions survive. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
}
