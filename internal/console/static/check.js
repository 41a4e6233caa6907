// Checks of integrations. Each step is shown as soon as its result arrives.
import { h, problem, question, request } from "./dom.js";
import { signInFields } from "./signin.js";

const marks = { ok: "✓", warning: "!", failed: "✗", skipped: "–" };

/**
 * Returns a panel that checks an integration. what is the request or a function that returns it. set changes a setting as
 * a step recommends; without it, the panel only shows the recommendation.
 */
export function checkPanel(what, sample, set) {
  const rows = h("tbody");
  const table = h("table", { hidden: true }, h("caption", { class: "soft" }, "Steps and results"),
    h("thead", {}, h("tr", {}, ["", "Step", "Result and remedy"].map(t => h("th", { scope: "col" }, t)))), rows);
  const verdict = h("p", { role: "status" });
  const account = h("div");
  const button = h("button", {}, "Check");
  const form = h("form", {
    class: "line", onsubmit: async e => {
      e.preventDefault();
      const fields = Object.fromEntries(new FormData(form));
      if (fields.sample === sample) fields.sample = ""; // the prefix is not a complete locator
      button.disabled = true;
      rows.replaceChildren();
      account.replaceChildren();
      table.hidden = false;
      verdict.className = "";
      verdict.textContent = "Checking …";
      try {
        const last = await steps({ ...(typeof what === "function" ? what() : what), ...fields }, s => rows.append(row(s, set && (() => { set(s.setting); form.requestSubmit(); }))));
        if (last.error) throw new Error(last.error);
        verdict.className = last.sound ? "good" : "bad";
        verdict.textContent = last.sound ? "All steps passed." : "Some steps failed.";
      } catch (err) {
        verdict.replaceChildren(problem(err.message));
        if (err.status === 401) account.replaceChildren(signInFields(() => form.requestSubmit()));
      }
      table.hidden = !rows.children.length;
      button.disabled = false;
    },
  }, h("label", { class: "wide", title: question("sample").hint }, question("sample").label + " ", h("input", { name: "sample", value: sample, autocomplete: "off", spellcheck: "false" })),
  h("label", { class: "wide", title: question("origin").hint }, question("origin").label + " ", h("input", { name: "origin", autocomplete: "off", spellcheck: "false", placeholder: "https://app.example.com" })), button);
  return h("div", { class: "check" }, form, table, verdict, account);
}

const row = (s, set) => h("tr", { class: s.verdict }, h("td", {}, h("span", { class: "mark", role: "img", "aria-label": s.verdict }, marks[s.verdict])), h("th", { scope: "row" }, s.step),
  h("td", {}, s.reason, s.remedy ? h("p", { class: "remedy" }, s.remedy) : null,
    s.setting && set ? h("button", { class: "plain", type: "button", onclick: set }, `Set ${s.setting.key}: ${s.setting.value}`) : null));

/** Sends a check, calls each for every step as it arrives, and returns the verdict, which is the last line. */
async function steps(body, each) {
  const answer = await request("/api/check", body);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value || "";
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const step = JSON.parse(line);
      if (!step.step) return step;
      each(step);
    }
    if (done) throw new Error("The check was interrupted.");
  }
}
