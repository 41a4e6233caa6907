// The upper part: how often the caches hit, how many redirects there are, and what went wrong, over the last minutes.
import { api, byID, h, moment, percent, setNow, span } from "./dom.js";

const width = 120, height = 36;

const perSecond = key => (from, to) => Math.max(0, to[key] - from[key]) / ((to.at - from.at) / 1000);
const share = (part, rest) => (from, to) => {
  const p = Math.max(0, to[part] - from[part]), r = Math.max(0, to[rest] - from[rest]);
  return p + r > 0 ? p / (p + r) : null;
};
const rate = value => value === null ? "–" : value >= 100 ? Math.round(value).toLocaleString() : value.toFixed(1);
const ofHundred = value => value === null ? "–" : (100 * value).toFixed(value > 0 && value < 1 ? 1 : 0) + " %";

// Each tile is what is drawn between two samples, how it is written, and what is said beside it.
const tiles = [
  { title: "Redirects per second", between: perSecond("redirects"), write: rate, top: 0, beside: t => t.redirects.toLocaleString() + " since the start" },
  { title: "URL hit rate", between: share("url_hits", "url_misses"), write: ofHundred, top: 1, beside: t => percent(t.url_hits, t.url_misses) + " since the start" },
  { title: "Session hit rate", between: share("credential_hits", "credential_misses"), write: ofHundred, top: 1, beside: t => percent(t.credential_hits, t.credential_misses) + " since the start" },
  { title: "Errors per second", between: (a, b) => perSecond("refused")(a, b) + perSecond("failed")(a, b), write: rate, top: 0,
    beside: t => t.refused.toLocaleString() + " refused, " + t.failed.toLocaleString() + " failed since the start" },
];

for (const tile of tiles) {
  tile.value = h("p", { class: "value" }, "–");
  tile.note = h("p", { class: "soft" }, "\u00a0");
  tile.chart = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" })) tile.chart.setAttribute(name, value);
  tile.line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  tile.chart.append(tile.line);
  byID("tiles").append(h("div", { class: "tile" }, h("h3", {}, tile.title), tile.value, tile.chart, tile.note));
}

/** Draws the values, of which null is a gap, against the ten minutes that there is room for. */
function draw(tile, values, room) {
  const top = tile.top || Math.max(...values.filter(v => v !== null), 1e-9) * 1.1;
  let d = "", pen = "M";
  values.forEach((v, n) => {
    if (v === null) {
      pen = "M";
      return;
    }
    const x = width * (room - values.length + n + 1) / room, y = height - 1 - (height - 2) * v / top;
    d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  tile.line.setAttribute("d", d);
}

/** Shows how it stands now. */
export async function showOverview() {
  const o = await api("/api/overview");
  setNow(o.now);
  const last = o.samples[o.samples.length - 1];
  // The last minute, as far as there is one.
  const minute = o.samples[Math.max(0, o.samples.length - 1 - Math.round(60 / o.every_seconds))];
  for (const tile of tiles) {
    const values = o.samples.slice(1).map((s, n) => tile.between(o.samples[n], s));
    const now = last.at > minute.at ? tile.between(minute, last) : null;
    tile.value.textContent = tile.write(now);
    tile.note.textContent = tile.beside(o.total);
    tile.chart.setAttribute("aria-label", `${tile.title} over the last ten minutes; in the last one ${tile.write(now)}`);
    draw(tile, values, 120);
  }
  byID("about").textContent = `Up for ${span((o.now - o.started) / 1000)}. ` + (o.file ? `Configuration ${o.file}, read ${moment(o.read)}.` : "The configuration is the demo's own.");
  const notices = [];
  if (o.problem) notices.push(["bad", `The configuration of ${moment(o.refused)} was refused, and the one before goes on: ${o.problem}`]);
  for (const w of o.warnings || []) notices.push(["warn", w]);
  const texts = JSON.stringify(notices);
  if (byID("notices").dataset.texts !== texts) { // said once, not every few seconds
    byID("notices").dataset.texts = texts;
    byID("notices").replaceChildren(...notices.map(([kind, text]) => h("p", { class: "notice " + kind }, text)));
  }
}
