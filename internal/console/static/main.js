// The entry point. Shows the session, and fetches the state periodically.
import { byID, loadTexts, problem, session } from "./dom.js";
import { showIntegrations, tick } from "./integrations.js";
import { showOverview } from "./overview.js";
import { showSession } from "./signin.js";
import "./trial.js";

const pause = 5; // seconds

/** Fetches the state periodically while the page is visible. */
async function follow() {
  if (!document.hidden) {
    try {
      await loadTexts();
      await Promise.all([showOverview(), showIntegrations()]);
      if (session.signed_in) await showSession(); // the session may have ended
      if (byID("notices").dataset.unreachable) {
        delete byID("notices").dataset.unreachable;
        byID("notices").replaceChildren();
      }
    } catch (err) {
      byID("notices").dataset.unreachable = "true";
      delete byID("notices").dataset.texts;
      byID("notices").replaceChildren(problem(err.message));
    }
  }
  setTimeout(follow, 1000 * pause);
}

await showSession().catch(() => {});
void follow();
setInterval(tick, 1000);
