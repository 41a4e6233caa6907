// The page: who looks at it, and how often it asks how things stand.
import { byID, loadTexts, problem, session } from "./dom.js";
import { showIntegrations, tick } from "./integrations.js";
import { showOverview } from "./overview.js";
import { showSession } from "./signin.js";
import "./trial.js";

/** Fetches the state periodically while the page is visible, less often if there are many integrations. */
async function follow() {
  let pause = 5;
  if (!document.hidden) {
    try {
      await loadTexts();
      const [, count] = await Promise.all([showOverview(), showIntegrations()]);
      if (session.signed_in) await showSession(); // which may have ended
      pause = Math.max(5, count / 50);
      if (byID("notices").dataset.away) {
        delete byID("notices").dataset.away;
        byID("notices").replaceChildren();
      }
    } catch (no) {
      byID("notices").dataset.away = "true";
      delete byID("notices").dataset.texts;
      byID("notices").replaceChildren(problem(no.message));
    }
  }
  setTimeout(follow, 1000 * pause);
}

await showSession().catch(() => {});
void follow();
setInterval(tick, 1000);
