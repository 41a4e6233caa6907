// The cards of the integrations, with their state and actions.
import { api, byID, copyButton, h, percent, secondsTo, session, setNow, span } from "./dom.js";
import { checkPanel } from "./check.js";
import { documentsPanel } from "./documents.js";
import { addIntegration, changeIntegration, removeIntegration } from "./change.js";

const page = 50; // number of cards shown at first, and added by "Show more"
const most = 1000; // the server's limit

const cards = new Map(); // the cards shown so far, by integration name
let room = page, asked = 0;

/** Fetches and shows the integrations that match the search: there can be thousands. */
export async function showIntegrations() {
  const turn = ++asked;
  const answer = await api("/api/integrations?" + new URLSearchParams({ search: byID("search").value, limit: room }));
  if (turn !== asked) return; // the search has changed since
  setNow(answer.now);
  arrange(answer);
}

/** Shows the integrations of an answer. Reuses existing cards. */
function arrange({ integrations, found, total }) {
  const shown = integrations.map(i => {
    const card = cards.get(i.name) || new Card();
    cards.set(i.name, card);
    card.show(i);
    return card.element;
  });
  for (const [name, card] of cards) {
    if (!shown.includes(card.element)) cards.delete(name);
  }
  const list = byID("cards");
  if (shown.length !== list.children.length || shown.some((e, n) => e !== list.children[n])) list.replaceChildren(...shown);
  byID("count").textContent = found === total ? total.toLocaleString() : `${found.toLocaleString()} of ${total.toLocaleString()}`;
  byID("more").hidden = found <= room || room >= most;
  byID("more").textContent = `Show ${Math.min(page, found - room)} more of ${(found - room).toLocaleString()}`;
  byID("add").hidden = !session.signed_in;
  if (!total) {
    list.replaceChildren(h("p", { class: "soft" }, "There are no integrations yet. ",
      session.signed_in ? "Add one: the dialog shows the policies to create and checks the role." : session.changeable ? "Sign in to add one." : "Run s3redirect integrate to add one."));
  }
}

// A failed request is reported by the next periodic one.
const again = rows => { room = Math.min(rows, most); void showIntegrations().catch(() => {}); };
byID("search").addEventListener("input", () => again(page));
byID("more").addEventListener("click", () => again(room + page));
byID("add").addEventListener("click", () => addIntegration());
document.addEventListener("changed", () => void showIntegrations());

/** Updates the countdowns between two responses. */
export function tick() {
  for (const card of cards.values()) {
    if (card.element.isConnected) card.count();
  }
}

const results = {
  ok: "success", denied: "denied", throttled: "throttled", unavailable: "unavailable", malformed: "invalid response",
};

const hits = c => c.url_hits + c.url_misses ? `${percent(c.url_hits, c.url_misses)} of ${(c.url_hits + c.url_misses).toLocaleString()}` : "no requests yet";

class Card {
  constructor() {
    this.title = h("h3");
    this.badge = h("span", { class: "badge" });
    this.state = h("span", { class: "state" });
    this.facts = h("dl");
    this.problem = h("p", { class: "notice bad", hidden: true });
    this.panel = h("div", { class: "panel", hidden: true });
    this.buttons = new Map();
    this.actions = h("div", { class: "actions" });
    this.element = h("article", { class: "card" }, h("div", { class: "head" }, this.title, this.badge, this.state), this.problem, this.facts, this.actions, this.panel);
  }

  /** Shows the state of integration i. */
  show(i) {
    this.integration = i;
    this.title.textContent = i.name;
    this.badge.textContent = i.prefix ? "one prefix" : i.scoped ? "one bucket" : "default";
    const facts = [[i.scoped ? "Bucket" : "Buckets", i.buckets.join(", ")], ["Prefix", i.prefix], ["Blocked", (i.blocked_prefixes || []).join(", ")], ["Role", i.role_arn || "none (signed with its access keys)"], ["Region", i.region],
      ["External ID", i.role_arn ? i.external_id || "none (the role is not protected against the confused deputy problem)" : ""], ["Endpoint", i.endpoint],
      ["Configured in", i.editable ? "" : `${i.file}, line ${i.line}`]];
    // Unchanged elements are kept, so that they keep the focus and the selection.
    this.sts ||= h("span");
    this.hits ||= h("span");
    this.hits.textContent = hits(i.counts);
    const written = JSON.stringify(facts);
    if (written !== this.written) {
      this.written = written;
      this.facts.replaceChildren(...[...facts.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name),
        h("dd", {}, h("span", { "data-copy": true }, value), name === "External ID" && i.external_id ? [" ", copyButton(i.external_id, "the external ID of " + i.name)] : null)]),
      i.static ? [] : [h("dt", {}, "STS"), h("dd", {}, this.sts)], [h("dt", {}, "URL hits"), h("dd", {}, this.hits)]].flat());
    }
    if (this.signedIn !== session.signed_in || this.named !== i.name || this.editable !== i.editable) {
      [this.signedIn, this.named, this.editable] = [session.signed_in, i.name, i.editable];
      this.makeButtons(i);
    }
    this.count();
    this.problem.hidden = !i.problem;
    if (this.problem.textContent !== i.problem) this.problem.textContent = i.problem || "";
  }

  /** Shows the remaining time of the session and the result of the last STS call. */
  count() {
    const i = this.integration;
    let state = "not in use yet", kind = "";
    if (i.static) state = "access keys";
    else if (i.expires) [state, kind] = [`session good for ${span(secondsTo(i.expires))}`, "good"];
    if (i.result && i.result !== "ok") [state, kind] = [(i.expires ? state + ", " : "no session, ") + i.result, "bad"];
    this.state.textContent = state;
    this.state.className = "state " + kind;
    if (this.sts) this.sts.textContent = i.asked ? `${results[i.result]}, ${span(-secondsTo(i.asked))} ago` : "not called yet";
  }

  makeButtons(i) {
    const toggle = (name, panel) => {
      const open = this.open === name;
      this.open = open ? null : name;
      this.panel.hidden = open;
      this.panel.replaceChildren(...(open ? [] : [panel()]));
      for (const [n, b] of this.buttons) b.setAttribute("aria-expanded", String(n === this.open));
    };
    const button = (name, panel) => {
      const b = h("button", { class: "plain", type: "button", "aria-expanded": String(this.open === name), "aria-label": `${name} of ${i.name}`, onclick: () => toggle(name, panel) }, name);
      this.buttons.set(name, b);
      return b;
    };
    this.actions.replaceChildren(
      button("Documents", () => documentsPanel({ name: i.name })),
      button("Check", () => checkPanel({ name: i.name }, this.integration.scoped ? `s3://${this.integration.buckets[0]}/${this.integration.prefix || ""}` : "s3://")),
      ...(!session.signed_in || !session.changeable ? [] : !i.editable ? [
        h("button", { class: "plain", type: "button", "aria-label": "Read-only: how to change " + i.name, onclick: () => changeIntegration(i.name) }, "Read-only"),
      ] : [
        h("button", { class: "plain", type: "button", "aria-label": "Edit " + i.name, onclick: () => changeIntegration(i.name) }, "Edit"),
        h("button", { class: "plain", type: "button", "aria-label": "Remove " + i.name, onclick: () => removeIntegration(i.name) }, "Remove"),
      ]));
  }
}
