// Filter and order of the rows. The page is complete without it. Text from the page stays text: nothing here makes
// markup of it.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filter"), list = byId("rows"), chips = byId("filter-chips");
  const rows = Array.from(list.children);
  if (!rows.length) return;
  const cell = (row, name) => row.querySelector("summary ." + name).textContent;
  const levels = ["informational", "low", "medium", "high", "critical"];
  const by = { rule: null, host: null, account: null, technique: null, time: null };
  const texts = new Map();

  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const tests = {
    rule: (row, value) => row.dataset.rule === value,
    host: (row, value) => cell(row, "host") === value,
    account: (row, value) => cell(row, "account") === value,
    technique: (row, value) =>
      cell(row, "techniques").split(" ").some((id) => id === value || id.startsWith(value + ".")),
    time: (row, value) => {
      const [start, end] = value.split(",").map(Number), at = Number(row.dataset.time);
      return "time" in row.dataset && at >= start && at < end;
    },
  };
  const orders = {
    worst: null,
    time: (row) => ("time" in row.dataset ? Number(row.dataset.time) : Infinity),
    rule: (row) => Number(row.dataset.rule),
    host: (row) => cell(row, "host"),
  };

  const apply = () => {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set();
    for (const box of form.querySelectorAll("input[type=checkbox]"))
      if (box.checked) wanted.add(String(levels.indexOf(box.value)));
    const active = Object.keys(by).filter((name) => by[name] !== null);
    let shown = 0;
    for (const row of rows) {
      const fits = wanted.has(row.dataset.level) && active.every((name) => tests[name](row, by[name].value)) &&
        words.every((word) => textOf(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    byId("filter-count").textContent =
      form.dataset.shown.replace("{shown}", () => shown).replace("{all}", () => rows.length);
    byId("filter-none").hidden = shown > 0;
    byId("filter-clear").hidden = shown === rows.length && !active.length;
    chips.replaceChildren(...active.map((name) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = form.dataset[name] + ": " + by[name].text + "  \u00d7";
      chip.addEventListener("click", () => { by[name] = null; apply(); });
      return chip;
    }));
  };
  const order = () => {
    const key = orders[byId("filter-order").value];
    const keyed = rows.map((row, place) => [key ? key(row) : place, place, row]);
    keyed.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]));
    list.append(...keyed.map((each) => each[2]));
  };

  document.addEventListener("click", (event) => {
    const source = event.target.closest("[data-by]");
    if (!source || !(source.dataset.by in by)) return;
    event.preventDefault();
    for (const name of Object.keys(by)) by[name] = null;
    const title = source.querySelector("title");
    const text = title ? title.textContent.split(":").slice(0, -1).join(":") : source.textContent;
    by[source.dataset.by] = { value: source.dataset.value, text: text.trim() };
    apply();
    byId("detections").scrollIntoView();
  });
  byId("filter-text").addEventListener("input", apply);
  form.addEventListener("change", (event) => (event.target.id === "filter-order" ? order() : apply()));
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("filter-clear").addEventListener("click", () => {
    for (const name of Object.keys(by)) by[name] = null;
    form.reset();
    order();
    apply();
  });
  byId("open-all").addEventListener("click", () => rows.forEach((row) => { if (!row.hidden) row.open = true; }));
  byId("close-all").addEventListener("click", () => rows.forEach((row) => { row.open = false; }));
  document.documentElement.classList.add("has-script");
  form.hidden = false;
  apply();
})();
