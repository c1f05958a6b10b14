// Links with data-drawer open beside the page; opened once more they are a page of their own. Esc closes.
const drawer = document.getElementById("drawer");
let opener = null;

export function close() {
  if (!drawer || drawer.hidden) return false;
  drawer.hidden = true;
  drawer.replaceChildren();
  delete drawer.dataset.href;
  opener?.focus();
  return true;
}

export async function open(href, from) {
  if (!drawer) return location.assign(href);
  if (drawer.dataset.href === href) return location.assign(href);
  opener = from ?? document.activeElement;
  drawer.dataset.href = href;
  drawer.hidden = false;
  drawer.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(href, { headers: { "HX-Request": "true" }, credentials: "same-origin" });
    if (answer.status === 401) return location.assign(href);
    const text = await answer.text();
    if (drawer.dataset.href !== href) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    drawer.replaceChildren(...page.body.childNodes);
    window.htmx?.process(drawer);
    document.dispatchEvent(new Event("mingjian:changed"));
    drawer.scrollTop = 0;
    drawer.focus({ preventScroll: true });
  } catch {
    location.assign(href);
  } finally {
    drawer.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (event.target.closest("[data-close-drawer]")) {
    event.preventDefault();
    close();
    return;
  }
  const mark = event.target.closest("g[data-mark]");
  if (mark) {
    // What it leads to is in the table of the picture, in the same order.
    const [marks, links] = ["g", "a"].map((name) => [...mark.closest("[data-charted]").querySelectorAll(`${name}[data-mark]`)]);
    open(links[marks.indexOf(mark)].getAttribute("href"));
    return;
  }
  const link = event.target.closest("a[data-drawer]");
  if (!link) return;
  event.preventDefault();
  open(link.getAttribute("href"), link);
});

// A picture that was clicked on says what it wants to be opened.
document.addEventListener("mingjian:open", (event) => open(event.detail));
