// Times are written in UTC; here they are shown in the reader's zone, with its name beside the full time.
const language = document.documentElement.lang;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

const two = (value) => String(value).padStart(2, "0");

function localText(moment) {
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  return `${day} ${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

function ago(moment) {
  const seconds = (moment - Date.now()) / 1000;
  const [unit, length] = steps.find((step) => Math.abs(seconds) >= step[1]) ?? steps.at(-1);
  return relative.format(Math.trunc(seconds / length), unit);
}

export function show(root = document) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    time.dataset.shown = "";
    time.textContent = localText(moment);
    time.title = `${full.format(moment)} (${zone}) · ${ago(moment)} · ${time.dateTime}`;
  }
}

show();
document.addEventListener("mingjian:changed", () => show());
