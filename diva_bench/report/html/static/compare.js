// Two runs of a task: win, tie and loss, and the samples that differ most.
"use strict";

Report.page("compare", (article, first) => {
  const { el, quoted, show } = Report;
  const meta = JSON.parse(article.querySelector("script.meta").textContent);
  const form = article.querySelector("form"), status = article.querySelector("p.status");
  const outcome = article.querySelector(".outcome"), differ = article.querySelector(".differ");
  const name = article.dataset.page, able = meta.runs.filter((run) => run.metrics.length), MOST = 30;
  const field = (key) => form.querySelector(`[data-field="${key}"]`);
  const fill = (select, options) => { const before = select.value; select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text))); select.value = before; if (select.selectedIndex < 0) select.selectedIndex = 0; };
  let timer = 0;

  const { data, samples, answers } = Report.columns(meta, () => { clearTimeout(timer); timer = setTimeout(draw, 40); });

  function metrics() {
    const [a, b] = ["a", "b"].map((key) => able.find((run) => run.key === field(key).value));
    fill(field("metric"), a.metrics.filter((metric) => b.metrics.includes(metric)).map((metric) => [metric, metric]));
  }

  function change() {
    metrics();
    const [a, b] = [field("a").value, field("b").value];
    Report.keep(name, { a, b, metric: field("metric").value === meta.metric ? "" : field("metric").value, side: field("side").value });
    answers([a, b]);
    draw();
  }

  function draw() {
    const [a, b] = [field("a").value, field("b").value], metric = field("metric").value;
    const runs = [a, b].map((key) => able.find((run) => run.key === key)), rises = metric === meta.metric ? meta.rises : !/^(wer|cer)/.test(metric);
    const parts = [a, b].map((key) => data.runs.get(key));
    if (a === b) { status.textContent = "Choose two different runs."; outcome.replaceChildren(); differ.replaceChildren(); return; }
    if (parts.some((part) => !part) || !data.size) return;
    const whole = parts.every((part) => part.size >= meta.count) && data.size >= meta.count;
    let win = 0, tie = 0, loss = 0;
    const items = [];
    for (let i = 0; i < Math.min(data.size, parts[0].size, parts[1].size); i++) {
      const [x, y] = parts.map((part) => part.scores[metric]?.[i] ?? null);
      if (x === null || y === null) continue;
      const d = (x - y) * (rises ? 1 : -1);
      if (d > 0) win++; else if (d < 0) loss++; else tie++;
      if (d) items.push([i, d, x, y]);
    }
    const all = win + tie + loss;
    status.textContent = `${all.toLocaleString("en")} of ${meta.count.toLocaleString("en")} samples have a score by ${metric} in both runs${whole ? "." : "; more are being loaded."}`;
    status.dataset.done = whole ? "1" : "";
    const pair = metric === meta.metric && meta.pairs.find((one) => (one.a === runs[0].label && one.b === runs[1].label) || (one.b === runs[0].label && one.a === runs[1].label));
    const turn = pair && pair.a !== runs[0].label ? -1 : 1;
    const bar = (kind, n, text) => (n ? Object.assign(el("span", { class: `bar ${kind}` }, `${n}`), { title: text }) : "");
    const bars = el("div", { class: "bars", role: "img", "aria-label": `${runs[0].label} is better on ${win}, equal on ${tie}, ${runs[1].label} is better on ${loss} samples` },
      bar("win", win, "first is better"), bar("tie", tie, "equal"), bar("loss", loss, "second is better"));
    [win, tie, loss].filter(Boolean).forEach((n, k) => bars.children[k].style.setProperty("flex-grow", n));
    outcome.replaceChildren(
      el("p", { class: "verdict" }, el("span", { class: "key win" }, `${runs[0].label} better: ${win}`), el("span", { class: "key tie" }, `equal: ${tie}`), el("span", { class: "key loss" }, `${runs[1].label} better: ${loss}`)),
      bars,
      pair ? el("p", {}, `${runs[0].label} minus ${runs[1].label}, ${metric}: `, el("b", {}, fixed(turn * pair.value)), ` [${[turn * pair.low, turn * pair.high].sort((p, q) => p - q).map(fixed).join(", ")}], p (Holm) ${pair.holm < 0.0001 ? "<0.0001" : pair.holm.toFixed(4)}, n = ${pair.n.toLocaleString("en")}`)
        : el("p", { class: "muted small" }, "The counts are of the answers' own scores. For the difference of the runs with its interval, use diva-bench compare."));
    const side = field("side").value;
    const sorted = items.filter(([, d]) => (side === "a" ? d > 0 : side === "b" ? d < 0 : true)).sort((p, q) => Math.abs(q[1]) - Math.abs(p[1]) || p[0] - q[0]);
    differ.replaceChildren(el("h2", {}, `Samples that differ most (${Math.min(MOST, sorted.length)} of ${sorted.length.toLocaleString("en")})`),
      ...sorted.slice(0, MOST).map(([i, d, x, y]) => item(i, d, [x, y], runs, parts, metric)));
  }

  const fixed = (value) => { const text = value.toFixed(1); return text === "-0.0" ? "0.0" : text; };

  function item(i, d, scores, runs, parts, metric) {
    const ident = data.samples.id[i], samples = data.samples;
    return el("section", { class: `pair ${d > 0 ? "win" : "loss"}` },
      el("h3", {}, show(el("a", { href: Report.link(`samples/${meta.task}`, { id: ident, models: runs.map((run) => run.key).join(",") }) }), ident)),
      samples.transcript?.[i] ? el("p", { class: "muted", dir: "auto" }, show(el("span", {}), samples.transcript[i])) : "",
      samples.references?.[i]?.length ? el("p", { dir: "auto" }, el("span", { class: "muted" }, "reference: "), show(el("span", {}), samples.references[i].join(" / "))) : "",
      el("div", { class: "sides" }, ...[0, 1].map((k) => el("div", { class: (d > 0) === (k === 0) ? "better" : "" },
        el("p", { class: "scores" }, `${runs[k].label} `, el("b", {}, scores[k].toFixed(1)), el("span", { class: "muted" }, ` ${metric}`)),
        parts[k].label?.[i] ? el("p", { class: "label" }, show(el("b", {}), parts[k].label[i])) : "",
        parts[k].text ? quoted(parts[k].text[i]) : ""))));
  }

  function read(fields) {
    const names = able.map((run) => [run.key, run.label]);
    fill(field("a"), names);
    fill(field("b"), names);
    const a = able.find((run) => run.key === fields.get("a")) ?? able[0];
    field("a").value = a.key;
    field("b").value = (able.find((run) => run.key === fields.get("b")) ?? able.find((run) => run !== a)).key;
    metrics();
    field("metric").value = fields.get("metric") || meta.metric;
    if (field("metric").selectedIndex < 0) field("metric").selectedIndex = 0;
    field("side").value = fields.get("side") || "";
    change();
  }

  if (able.length < 2) {
    form.hidden = true;
    status.textContent = "Two runs with scores by sample are needed. Run diva-bench score on the runs of this task.";
    return () => {};
  }
  form.addEventListener("change", change);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("[data-swap]").addEventListener("click", () => { [field("a").value, field("b").value] = [field("b").value, field("a").value]; change(); });
  samples().catch((why) => { status.textContent = `The samples cannot be loaded: ${why.message}.`; });
  read(first);
  return read;
});
