// The behaviours of the pages, one module each. Every page works without them.
import "./times.js";
import "./drawer.js";
import "./rows.js";
import "./keyboard.js";
import "./forms.js";
import "./live.js";
import "./passkeys.js";

document.documentElement.classList.add("has-script");

// What was put into the page later has to be looked at, too.
document.addEventListener("htmx:afterSettle", () => document.dispatchEvent(new Event("mingjian:changed")));
