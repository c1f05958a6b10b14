// Everything can be done without a mouse. Keys do nothing while somebody types.
import { close, open } from "./drawer.js";
import { current, move, selectCurrentIfNone, toggle } from "./rows.js";

const GO_MS = 1200;
const places = new Map(
  (document.body.dataset.go ?? "").trim().split(/\s+/).filter(Boolean).map((entry) => {
    const at = entry.indexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  }),
);
let goUntil = 0;

function isTyping(target) {
  return target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

// A row whose record is all that it leads to says so at its link alone: hundreds of them say each address once.
function recordOf(row) {
  return row?.querySelector("a[data-record]")?.getAttribute("href");
}

const keys = {
  "/": () => document.getElementById("ask")?.focus(),
  "\\": () => document.querySelector("[data-filter-box]")?.focus(),
  "?": () => document.getElementById("keys")?.showModal(),
  g: () => { goUntil = performance.now() + GO_MS; },
  j: () => move(1),
  k: () => move(-1),
  x: () => toggle(),
  e: () => {
    const href = current()?.dataset.evidence ?? recordOf(current()) ?? document.querySelector("#drawer [data-evidence-link]")?.getAttribute("href");
    if (href) open(href);
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (isTyping(event.target)) event.target.blur();
    else close();
    return;
  }
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (performance.now() < goUntil && places.has(event.key)) {
    goUntil = 0;
    event.preventDefault();
    location.assign(places.get(event.key));
    return;
  }
  if (event.key === "Enter" && event.target === document.body) {
    const row = current();
    if (row?.dataset.goes) location.assign(row.dataset.goes);
    else if (row?.dataset.href) open(row.dataset.href);
    return;
  }
  // What is open beside the page comes before the page.
  const wanted = `button[data-key="${CSS.escape(event.key)}"]`;
  const button = document.querySelector(`#drawer ${wanted}`) ?? document.querySelector(wanted);
  if (button) {
    event.preventDefault();
    if (button.closest("[data-actions]")) selectCurrentIfNone(button.form);
    button.click();
    return;
  }
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
