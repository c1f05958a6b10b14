// Rows of a list: the current one, the selected ones.
const rows = () => [...document.querySelectorAll("tr[data-row]")];
export const current = () => document.querySelector("tr[data-row].current");

export function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  current()?.classList.remove("current");
  next.classList.add("current");
  next.scrollIntoView({ block: "nearest" });
  (next.querySelector("a.open") ?? next.querySelector("a, input"))?.focus({ preventScroll: true });
}

export function toggle() {
  const box = current()?.querySelector("input[name=key], input[name=detection]");
  if (!box) return;
  box.checked = !box.checked;
  count();
}

function count() {
  for (const form of document.querySelectorAll("form[data-rows]")) {
    const place = form.querySelector("[data-selected]");
    if (!place) continue;
    const chosen = form.querySelectorAll("input[name=key]:checked, input[name=detection]:checked").length;
    place.textContent = chosen ? String(chosen) : "";
    for (const button of form.querySelectorAll("[data-actions] button")) button.disabled = !chosen;
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) {
    for (const box of event.target.closest("table").querySelectorAll("input[name=key], input[name=detection]")) {
      box.checked = event.target.checked;
    }
  }
  count();
});
document.addEventListener("mingjian:changed", count);
count();
