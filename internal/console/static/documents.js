// The documents that an integration needs: what its role may do, who may assume it, which pages may read its buckets.
import { api, copyButton, h, problem, question } from "./dom.js";

export const formats = [["json", "JSON"], ["terraform", "Terraform"], ["cloudformation", "CloudFormation"], ["cli", "AWS CLI"]];

let number = 0;

/** One document, with what to do with it. */
export function documentView(d) {
  const id = `document-${++number}`;
  return h("section", { class: "document", "aria-labelledby": id }, h("h4", { id }, d.title), d.hint ? h("p", { class: "soft" }, d.hint) : null,
    d.error ? problem(d.error) : h("div", { class: "text" }, h("pre", { "data-copy": true, tabindex: "0", "aria-labelledby": id }, d.text), copyButton(d.text, d.title)),
    (d.notes || []).map(n => h("p", { class: "note" }, n)));
}

/** All documents of an integration, in whichever form. */
export function documentsPanel(of) {
  const list = h("div"), said = h("p", { role: "status", class: "soft" });
  const format = h("select", { name: "format", onchange: () => void show() }, formats.map(([value, name]) => h("option", { value }, name)));
  const principal = h("input", { name: "principal", autocomplete: "off", spellcheck: "false", placeholder: "as STS says", onchange: () => void show() });
  let asked = 0;
  async function show() {
    const mine = ++asked;
    try {
      const answer = await api("/api/documents", { ...of, format: format.value, principal: principal.value });
      if (mine !== asked) return; // what was asked for since is what counts
      list.replaceChildren(...answer.documents.map(documentView));
      said.textContent = `${answer.documents.length} documents`;
    } catch (no) {
      list.replaceChildren(problem(no.message));
    }
  }
  void show();
  return h("div", {}, h("div", { class: "line" }, h("label", {}, "Form ", format), h("label", { class: "wide", title: question("principal").hint }, question("principal").label + " ", principal)), said, list);
}
