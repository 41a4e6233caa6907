// Checks: an integration is tried step by step, and each step is shown as soon as it is known how it went.
import { h, problem, question, request } from "./dom.js";
import { signInFields } from "./signin.js";

const marks = { ok: "✓", warning: "!", failed: "✗", skipped: "–" };

/** A panel that checks. What is to be checked may be a function, for what is not known before. done is told how it went. */
export function checkPanel(what, sample, done = () => {}) {
  const rows = h("tbody");
  const table = h("table", { hidden: true }, h("caption", { class: "soft" }, "The steps, and how they went"),
    h("thead", {}, h("tr", {}, ["", "Step", "What was seen, and what to do"].map(t => h("th", { scope: "col" }, t)))), rows);
  const verdict = h("p", { role: "status" });
  const account = h("div");
  const button = h("button", {}, "Check");
  const form = h("form", {
    class: "line", onsubmit: async e => {
      e.preventDefault();
      const fields = Object.fromEntries(new FormData(form));
      if (fields.sample === sample) fields.sample = ""; // only the beginning of one
      button.disabled = true;
      rows.replaceChildren();
      account.replaceChildren();
      table.hidden = false;
      verdict.className = "";
      verdict.textContent = "Checking …";
      try {
        const last = await steps({ ...(typeof what === "function" ? what() : what), ...fields }, s => rows.append(row(s)));
        if (last.error) throw new Error(last.error);
        verdict.className = last.sound ? "good" : "bad";
        verdict.textContent = last.sound ? "All steps passed." : "Some steps failed.";
        done(last.sound);
      } catch (no) {
        verdict.replaceChildren(problem(no.message));
        if (no.status === 401) account.replaceChildren(signInFields(() => form.requestSubmit()));
      }
      table.hidden = !rows.children.length;
      button.disabled = false;
    },
  }, h("label", { class: "wide", title: question("sample").hint }, question("sample").label + " ", h("input", { name: "sample", value: sample, autocomplete: "off", spellcheck: "false" })),
  h("label", { class: "wide", title: question("origin").hint }, question("origin").label + " ", h("input", { name: "origin", autocomplete: "off", spellcheck: "false", placeholder: "https://app.example.com" })), button);
  return h("div", { class: "check" }, form, table, verdict, account);
}

const row = s => h("tr", { class: s.verdict }, h("td", {}, h("span", { class: "mark", role: "img", "aria-label": s.verdict }, marks[s.verdict])), h("th", { scope: "row" }, s.step),
  h("td", {}, s.reason, s.remedy ? h("p", { class: "remedy" }, s.remedy) : null));

/** Reads the answer's lines as they come; the last one is returned. */
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
