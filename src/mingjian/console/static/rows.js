// Rows of a list: the current one, the selected ones, and what is done with them without leaving the list.
const rows = () => [...document.querySelectorAll("tr[data-row]")];
export const current = () => document.querySelector("tr[data-row].current");
const boxes = "input[name=key][type=checkbox], input[name=detection]";

function become(next) {
  current()?.classList.remove("current");
  next.classList.add("current");
  next.scrollIntoView({ block: "nearest" });
  (next.querySelector("a.open, a[data-record]") ?? next.querySelector("a, input"))?.focus({ preventScroll: true });
  if (next.id) history.replaceState(history.state, "", `#${next.id}`);
}

export function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  if (at === all.length - 1 && step > 0) {
    document.querySelector("[data-next]")?.click();
    return;
  }
  become(all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
}

export function toggle() {
  const box = current()?.querySelector(boxes);
  if (!box) return;
  box.checked = !box.checked;
  count();
}

// What is done by a key is done with what is selected, else with the row at which the reader is.
export function selectCurrentIfNone(form) {
  if (form.querySelector(`:is(${boxes}):checked, [data-every]:checked`)) return;
  const box = current()?.querySelector(boxes);
  if (box && form.contains(box)) box.checked = true;
  count();
}

function count() {
  for (const form of document.querySelectorAll("form[data-rows]")) {
    const place = form.querySelector("[data-selected]");
    if (!place) continue;
    const chosen = form.querySelectorAll(`:is(${boxes}):checked`).length;
    const every = form.querySelector("[data-every]")?.checked ?? false;
    const some = (place.dataset.some ?? "{n}").replace("{n}", String(chosen));
    place.textContent = chosen ? some : (place.dataset.none ?? "");
    for (const button of form.querySelectorAll("[data-actions] button")) button.disabled = !chosen && !every;
  }
}

async function act(form, button) {
  const at = rows().indexOf(current());
  const body = new FormData(form, button);
  const target = button.hasAttribute("formaction") ? button.formAction : form.action;
  const answer = await fetch(target, {
    method: "POST", body, headers: { "HX-Request": "true", "HX-Target": "list" }, credentials: "same-origin",
  });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const old = document.getElementById("list");
  const fresh = page.getElementById("list");
  if (!fresh) {
    const told = page.querySelector(".error");
    if (!told || answer.status === 401) return location.assign(location.href);
    old.querySelector(":scope > .error")?.remove();
    old.prepend(document.adoptNode(told));
    return undefined;
  }
  old.replaceWith(document.adoptNode(fresh));
  history.replaceState(history.state, "", answer.url);
  window.htmx?.process(fresh);
  document.dispatchEvent(new Event("mingjian:changed"));
  const all = rows();
  if (at >= 0 && all.length) become(all[Math.min(at, all.length - 1)]);
  return undefined;
}

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.defaultPrevented || !button?.matches("#list [data-quick]")) return;
  event.preventDefault();
  act(event.target, button);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) {
    for (const box of event.target.closest("table").querySelectorAll(boxes)) box.checked = event.target.checked;
  }
  count();
});
document.addEventListener("mingjian:changed", count);
count();

const started = location.hash.startsWith("#row-") ? document.getElementById(location.hash.slice(1)) : null;
if (started?.matches("tr[data-row]")) become(started);
