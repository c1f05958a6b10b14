// htmx, with what the content policy of the console forbids switched off: nothing is evaluated, no style is inserted.
import htmx from "htmx.org";

htmx.config.allowEval = false;
htmx.config.allowScriptTags = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.selfRequestsOnly = true;
htmx.config.historyCacheSize = 0; // pages show what others must not find in this browser later
htmx.config.scrollIntoViewOnBoost = false;
htmx.config.timeout = 60000;

window.htmx = htmx;
