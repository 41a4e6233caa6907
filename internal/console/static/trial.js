// The form that tries a locator: what a viewer would get, and a preview of the object.
import { api, byID, h, problem, secondsTo, setNow, span } from "./dom.js";

const form = byID("trial"), result = byID("trial-result");

form.addEventListener("submit", async e => {
  e.preventDefault();
  const query = new URLSearchParams(new FormData(form));
  try {
    const before = await ask(query), list = h("dl", {}, ...facts(before));
    result.replaceChildren(h("div", { class: "trial" }, list, before.preview ? preview(before.locator, async () => list.replaceChildren(...facts(await ask(query)))) : null));
  } catch (err) {
    result.replaceChildren(problem(err.message));
  }
});

async function ask(query) {
  const t = await api("/api/try?" + query);
  setNow(t.now);
  return t;
}

/** Returns a preview of the object. shown runs after it has loaded, because loading it may change the caches. */
const preview = (locator, shown) => h("figure", {},
  h("iframe", { src: "/preview?" + new URLSearchParams({ locator }), title: "The object, loaded through the proxy", onload: () => void shown().catch(() => {}) }),
  h("figcaption", { class: "soft" }, "Loaded by this browser through the proxy, with the browser's own credentials"));

function facts(t) {
  const rows = [["Viewer", h("span", { class: t.allowed ? "good" : "bad" }, t.why)]];
  const row = (name, ...value) => rows.push([name, value]);
  if (t.integration) row("Integration", t.integration);
  if (t.integration) row("Region", t.region || "unknown until the first request");
  if (t.region && !t.session) row("Session", "none until the first request");
  if (t.session) {
    row("URL", h("span", { class: t.hit ? "good" : "" }, t.hit ? "hit" : "miss"), t.hit ? ": it is in the cache" : ": it will be signed");
    row("URL changes in", span(secondsTo(t.window_ends)));
    row("Valid", "for " + span(secondsTo(t.expires)));
    row("Cached by browsers", t.max_age_seconds > 0 ? "for " + span(t.max_age_seconds) : "no (no-store)");
    row("Length", t.bytes.toLocaleString() + " bytes");
  }
  row("Link", h("a", { href: t.url, target: "_blank", rel: "noreferrer" }, t.url));
  return rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]).flat();
}
