// The documents that an integration needs: the role's access and trust policies, and the buckets' CORS rules.
import { api, copyButton, h, problem, question } from "./dom.js";

export const formats = [["json", "JSON"], ["terraform", "Terraform"], ["cloudformation", "CloudFormation"], ["cli", "AWS CLI"]];

let number = 0;

/** Returns one document with its hint, notes and copy button. */
export function documentView(d) {
  const id = `document-${++number}`;
  return h("section", { class: "document", "aria-labelledby": id }, h("h4", { id }, d.title), d.hint ? h("p", { class: "soft" }, d.hint) : null,
    d.error ? problem(d.error) : h("div", { class: "text" }, h("pre", { "data-copy": true, tabindex: "0", "aria-labelledby": id }, d.text), copyButton(d.text, d.title)),
    (d.notes || []).map(n => h("p", { class: "note" }, n)));
}

/** Returns the checkbox for policies that allow session tags. */
export const tagsBox = (checked, onchange) => h("input", { type: "checkbox", name: "with_tags", checked, onchange });

/** Returns a panel with all documents of an integration, in a selectable format. */
export function documentsPanel(of) {
  const list = h("div"), said = h("p", { role: "status", class: "soft" });
  const format = h("select", { name: "format", onchange: () => void show() }, formats.map(([value, name]) => h("option", { value }, name)));
  const principal = h("input", { name: "principal", autocomplete: "off", spellcheck: "false", placeholder: "looked up from STS", onchange: () => void show() });
  const tags = tagsBox(false, () => void show());
  let asked = 0;
  async function show() {
    const mine = ++asked;
    try {
      const answer = await api("/api/documents", { ...of, format: format.value, principal: principal.value, with_tags: tags.checked });
      if (mine !== asked) return; // a newer request replaces this one
      list.replaceChildren(...answer.documents.map(documentView));
      said.textContent = `${answer.documents.length} documents`;
    } catch (err) {
      list.replaceChildren(problem(err.message));
    }
  }
  void show();
  return h("div", {}, h("div", { class: "line" }, h("label", {}, "Format ", format), h("label", { class: "wide", title: question("principal").hint }, question("principal").label + " ", principal)), h("label", { class: "box" }, tags, " " + question("with_tags").label), said, list);
}
