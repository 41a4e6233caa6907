// What a viewer who asks for an object would meet, and the object itself.
import { api, byID, h, problem, secondsTo, setNow, span } from "./dom.js";

const form = byID("trial"), result = byID("trial-result");

form.addEventListener("submit", async e => {
  e.preventDefault();
  const query = new URLSearchParams(new FormData(form));
  try {
    const before = await ask(query), list = h("dl", {}, ...facts(before));
    result.replaceChildren(h("div", { class: "trial" }, list, before.preview ? preview(before.locator, async () => list.replaceChildren(...facts(await ask(query)))) : null));
  } catch (no) {
    result.replaceChildren(problem(no.message));
  }
});

async function ask(query) {
  const t = await api("/api/try?" + query);
  setNow(t.now);
  return t;
}

/** The object itself. Once it is there, it may have made a difference to what a viewer meets. */
const preview = (locator, shown) => h("figure", {},
  h("iframe", { src: "/preview?" + new URLSearchParams({ locator }), title: "The object, as this browser gets it through the proxy", onload: () => void shown().catch(() => {}) }),
  h("figcaption", { class: "soft" }, "As this browser receives it through the proxy, with the browser's own credentials"));

function facts(t) {
  const rows = [["Viewer", h("span", { class: t.allowed ? "good" : "bad" }, t.why)]];
  const row = (name, ...value) => rows.push([name, value]);
  if (t.integration) row("Integration", t.integration);
  if (t.integration) row("Region", t.region || "not known yet: the first request has it found");
  if (t.region && !t.session) row("Session", "none yet: the first request has STS asked for one");
  if (t.session) {
    row("URL", h("span", { class: t.hit ? "good" : "" }, t.hit ? "hit" : "miss"), t.hit ? ": it is in the cache" : ": it will be signed");
    row("Stays the same", "for " + span(secondsTo(t.window_ends)));
    row("Good", "for " + span(secondsTo(t.expires)));
    row("Kept by browsers", t.max_age_seconds > 0 ? "for " + span(t.max_age_seconds) : "not at all (no-store)");
    row("Length", t.bytes.toLocaleString() + " bytes");
  }
  row("Link", h("a", { href: t.url, target: "_blank", rel: "noreferrer" }, t.url));
  return rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]).flat();
}
