// Live updates: a list says that there is something new, and leaves it to the reader; other parts renew themselves.
const parts = () => [...document.querySelectorAll("[data-live]")];
const connection = document.querySelector("[data-connection]");

async function renew(part) {
  const answer = await fetch(part.dataset.renew, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(part.id);
  if (!fresh) {
    // What was waited for is there: the whole page is another.
    location.reload();
    return;
  }
  part.replaceWith(fresh);
  window.htmx?.process(fresh);
  document.dispatchEvent(new Event("mingjian:changed"));
}

function changed(topic) {
  for (const part of parts()) {
    if (!part.dataset.live.split(" ").includes(topic)) continue;
    if (part.dataset.renew) renew(part);
    else {
      const news = part.querySelector("[data-news]");
      if (news) news.hidden = false;
    }
  }
}

if (parts().length) {
  const source = new EventSource("/live");
  source.addEventListener("changed", (event) => changed(JSON.parse(event.data).topic));
  source.addEventListener("ended", () => location.reload());
  source.addEventListener("open", () => { if (connection) connection.hidden = true; });
  source.addEventListener("error", () => { if (connection) connection.hidden = false; });
  addEventListener("pagehide", () => source.close());
}
