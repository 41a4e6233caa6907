// The overview: redirects, cache hit rates and errors over the last ten minutes.
import { api, byID, h, moment, percent, setNow, span } from "./dom.js";

const width = 120, height = 36;

const perSecond = key => (from, to) => Math.max(0, to[key] - from[key]) / ((to.at - from.at) / 1000);
const share = (part, rest) => (from, to) => {
  const p = Math.max(0, to[part] - from[part]), r = Math.max(0, to[rest] - from[rest]);
  return p + r > 0 ? p / (p + r) : null;
};
const rate = value => value === null ? "–" : value >= 100 ? Math.round(value).toLocaleString() : value.toFixed(1);
const ofHundred = value => value === null ? "–" : (100 * value).toFixed(value > 0 && value < 1 ? 1 : 0) + " %";

// Each tile has a value between two samples, its format, and a note. top is the maximum of the chart; 0 scales it to the values.
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

/** Draws the values, the newest at the right. null is a gap; room is the number of samples that fit. */
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

/** Fetches and shows the overview. */
export async function showOverview() {
  const o = await api("/api/overview");
  setNow(o.now);
  const last = o.samples[o.samples.length - 1];
  // The sample of one minute ago, or the oldest one.
  const minute = o.samples[Math.max(0, o.samples.length - 1 - Math.round(60 / o.every_seconds))];
  for (const tile of tiles) {
    const values = o.samples.slice(1).map((s, n) => tile.between(o.samples[n], s));
    const now = last.at > minute.at ? tile.between(minute, last) : null;
    tile.value.textContent = tile.write(now);
    tile.note.textContent = tile.beside(o.total);
    tile.chart.setAttribute("aria-label", `${tile.title} over the last ten minutes; ${tile.write(now)} in the last minute`);
    draw(tile, values, 120);
  }
  byID("about").textContent = `Up for ${span((o.now - o.started) / 1000)}. ` + (o.file ? `Configuration ${o.file}, read ${moment(o.read)}.` : "The configuration is built into the demo.");
  const notices = [];
  if (o.problem) notices.push(["bad", `Reload failed at ${moment(o.refused)}; the previous configuration is kept: ${o.problem}`]);
  for (const w of o.warnings || []) notices.push(["warn", w]);
  const texts = JSON.stringify(notices);
  if (byID("notices").dataset.texts !== texts) { // unchanged notices are not announced again
    byID("notices").dataset.texts = texts;
    byID("notices").replaceChildren(...notices.map(([kind, text]) => h("p", { class: "notice " + kind }, text)));
  }
}
