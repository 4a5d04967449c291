// The sample browser: search, filters, one sample with all answers side by side.
"use strict";

Report.page("samples", (article, first) => {
  const { el, quoted, show } = Report;
  const meta = JSON.parse(article.querySelector("script.meta").textContent);
  const form = article.querySelector("form"), list = article.querySelector(".list ol"), detail = article.querySelector(".detail");
  const status = article.querySelector("p.status"), pager = article.querySelector(".pager");
  const PER = 50, name = article.dataset.page, runs = new Map(meta.runs.map((run) => [run.key, run]));
  const binary = meta.runs.some((run) => run.metrics.length) && meta.runs.every((run) => run.binary || !run.metrics.length);
  const scored = meta.runs.some((run) => run.metrics.includes(meta.metric));
  const good = binary ? "right" : meta.rises ? "50 or more" : "below 50", bad = binary ? "wrong" : meta.rises ? "below 50" : "50 or more";
  let chosen = [], current = null, found = [], page = 0, hay = [], timer = 0, ready = false;

  const { data, samples, answers } = Report.columns(meta, () => { if (ready) later(); });

  // ---- controls

  const field = (key) => form.querySelector(`[data-field="${key}"]`);
  const fill = (select, options) => select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));

  function controls() {
    const some = chosen.map((key) => runs.get(key));
    const before = [field("result").value, field("sort").value];
    fill(field("result"), [["", "any"], ...(scored ? [["all:good", `all ${good}`], ["all:bad", `all ${bad}`], ["differ", "models disagree"]] : []),
      ...(scored ? some.flatMap((run) => [[`good:${run.key}`, `${run.label}: ${good}`], [`bad:${run.key}`, `${run.label}: ${bad}`]]) : [])]);
    fill(field("sort"), [["", "order of the data"], ["long", "longest clip first"], ["short", "shortest clip first"],
      ...(scored ? [["spread", "most different first"], ["worst", "lowest mean score first"], ["best", "highest mean score first"]] : [])]);
    [field("result").value, field("sort").value] = before;
    for (const key of ["result", "sort"]) if (field(key).selectedIndex < 0) field(key).selectedIndex = 0;
    article.querySelector("[data-models]").textContent = some.map((run) => run.label).join(", ") || "none";
  }

  function setUp() {
    const fieldset = article.querySelector("details.models fieldset");
    for (const run of meta.runs) {
      fieldset.append(el("label", { class: "check" }, el("input", { type: "checkbox", value: run.key, onchange: pick }), ` ${run.label}`));
    }
    const groups = form.querySelector(".groups");
    for (const [group, values] of Object.entries(meta.groups)) {
      const select = el("select", { "data-field": `g.${group}`, "aria-label": group });
      fill(select, [["", "any"], ...values.filter((v) => v).map((v) => [v, v])]);
      groups.append(el("label", {}, `${group} `, select), " ");
    }
    form.querySelector("[data-unparsed]").hidden = !meta.labels;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => { page = 0; event.target.type === "search" ? soon() : update(); });
    form.addEventListener("reset", () => setTimeout(() => { page = 0; update(); }));
    pager.addEventListener("click", (event) => {
      const step = Number(event.target.dataset?.step ?? 0);
      if (step) { page += step; draw(); list.scrollIntoView({ block: "nearest" }); }
    });
    list.addEventListener("click", (event) => {
      const item = event.target.closest("a[data-i]");
      if (item) { event.preventDefault(); choose(Number(item.dataset.i), true); }
    });
    document.addEventListener("keydown", keys);
  }

  function pick() {
    chosen = [...article.querySelectorAll("details.models input:checked")].map((box) => box.value);
    hay = [];
    status.dataset.done = "";
    controls();
    answers(chosen);
    update();
  }

  function read(fields) {
    const wanted = (fields.get("models") || "").split(",").filter((key) => runs.has(key));
    const others = meta.runs.map((run) => run.key).filter((key) => !wanted.includes(key));
    chosen = wanted.length === 1 && !fields.get("only") ? [...wanted, ...others].slice(0, meta.first) : wanted.length ? wanted : others.slice(0, meta.first);
    for (const box of article.querySelectorAll("details.models input")) box.checked = chosen.includes(box.value);
    controls();
    for (const one of form.querySelectorAll("[data-field]")) {
      const value = fields.get(one.dataset.field) || "";
      if (one.type === "checkbox") one.checked = value === "1"; else one.value = value;
      if (one.tagName === "SELECT" && one.selectedIndex < 0) one.selectedIndex = 0;
    }
    page = Math.max(0, Number(fields.get("page") || 1) - 1) || 0;
    current = fields.get("id");
    answers(chosen);
  }

  function state() {
    const fields = {};
    for (const one of form.querySelectorAll("[data-field]")) fields[one.dataset.field] = one.type === "checkbox" ? (one.checked ? "1" : "") : one.value;
    const usual = meta.runs.slice(0, meta.first).map((run) => run.key).join();
    if (chosen.join() !== usual) { fields.models = chosen.join(","); if (chosen.length === 1) fields.only = "1"; }
    fields.page = page ? String(page + 1) : "";
    fields.id = current;
    Report.keep(name, fields);
  }

  // ---- search and filters

  const score = (key, i, metric = meta.metric) => data.runs.get(key)?.scores?.[metric]?.[i] ?? null;
  const isGood = (value) => (binary ? (value >= 100) === meta.rises : (value >= 50) === meta.rises);

  function haystack(i) {
    if (hay[i] !== undefined) return hay[i];
    const parts = [data.samples.id[i]];
    if (data.samples.transcript) parts.push(data.samples.transcript[i], ...data.samples.references[i]);
    let whole = true;
    for (const key of chosen) {
      const run = data.runs.get(key);
      if (!run || run.size <= i) { whole = false; continue; }
      parts.push(run.text?.[i] ?? "", run.heard?.[i] ?? "", run.label?.[i] ?? "");
    }
    const text = parts.join("\n").toLowerCase();
    if (whole) hay[i] = text;
    return text;
  }

  /** Prepare the texts that a search looks at, a part at a time, so that the first search is as fast as the next. */
  function prepare(from = 0) {
    const until = Math.min(from + 1000, data.size);
    for (let i = from; i < until; i++) haystack(i);
    if (until < data.size) setTimeout(prepare, 0, until);
  }

  function terms() { return field("q").value.toLowerCase().split(/\s+/).filter(Boolean); }

  function matches(i, words, result, code, unparsed, groups) {
    for (const [group, value] of groups) if (data.samples.groups[group]?.[i] !== value) return false;
    if (code && !chosen.some((key) => data.runs.get(key)?.status?.[i] === code)) return false;
    if (unparsed && !chosen.some((key) => data.runs.get(key)?.unparsed?.has(i))) return false;
    if (result) {
      const [kind, who] = result.split(/:(.*)/s);
      if (kind === "good" || kind === "bad") {
        const value = score(who, i);
        if (value === null || isGood(value) !== (kind === "good")) return false;
      } else {
        const values = chosen.map((key) => score(key, i)).filter((value) => value !== null).map(isGood);
        if (!values.length) return false;
        if (kind === "all" && !values.every((one) => one === (who === "good"))) return false;
        if (kind === "differ" && values.every((one) => one === values[0])) return false;
      }
    }
    if (!words.length) return true;
    const text = haystack(i);
    return words.every((word) => text.includes(word));
  }

  function update() {
    clearTimeout(timer);
    const began = performance.now();
    const words = terms(), result = field("result").value, code = field("status").value, unparsed = field("unparsed").checked;
    const groups = [...form.querySelectorAll("[data-field^='g.']")].filter((one) => one.value).map((one) => [one.dataset.field.slice(2), one.value]);
    found = [];
    for (let i = 0; i < data.size; i++) if (matches(i, words, result, code, unparsed, groups)) found.push(i);
    const order = field("sort").value;
    const mean = (i) => { const v = chosen.map((key) => score(key, i)).filter((x) => x !== null); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : null; };
    const spread = (i) => { const v = chosen.map((key) => score(key, i)).filter((x) => x !== null); return v.length ? Math.max(...v) - Math.min(...v) : null; };
    const key = { long: (i) => -data.samples.seconds[i], short: (i) => data.samples.seconds[i], spread: (i) => -(spread(i) ?? -1), worst: (i) => mean(i) ?? 1e9, best: (i) => -(mean(i) ?? -1e9) }[order];
    if (key) found = found.map((i) => [key(i), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i);
    draw();
    const open = chosen.some((key) => (data.runs.get(key)?.size ?? 0) < meta.count) || data.size < meta.count;
    status.textContent = `${found.length.toLocaleString("en")} of ${meta.count.toLocaleString("en")} samples${open ? `, still loading: ${data.size.toLocaleString("en")} are here` : ""}`;
    status.dataset.ms = String(Math.round(performance.now() - began));
    if (!open && status.dataset.done !== "1") setTimeout(prepare, 0);
    status.dataset.done = open ? "" : "1";
  }

  function soon() { clearTimeout(timer); timer = setTimeout(update, 80); }
  function later() { if (!timer || data.size >= meta.count) { clearTimeout(timer); timer = setTimeout(() => { timer = 0; update(); }, 40); } }

  // ---- the list

  function chip(key, i) {
    const value = score(key, i), run = data.runs.get(key), label = runs.get(key).label;
    const code = run?.status?.[i];
    let sign = "·", kind = "none", word = "no score";
    if (code === "e") [sign, kind, word] = ["!", "bad", "error"];
    else if (code === "u") [sign, kind, word] = ["∅", "bad", "unsupported"];
    else if (value !== null && binary) [sign, kind, word] = isGood(value) ? ["✓", "good", "right"] : ["✗", "bad", "wrong"];
    else if (value !== null) [sign, kind, word] = [String(Math.round(value)), isGood(value) ? "good" : "bad", `score ${Math.round(value)}`];
    return el("span", { class: `chip ${kind}`, title: `${label}: ${word}` }, el("span", { "aria-hidden": "true" }, sign), el("span", { class: "hidden" }, `${label}: ${word}. `));
  }

  function draw() {
    const last = Math.max(0, Math.ceil(found.length / PER) - 1);
    page = Math.min(Math.max(page, 0), last);
    const words = terms(), place = found.findIndex((i) => data.samples.id[i] === current);
    if (place < 0 && found.length && !current) current = data.samples.id[found[0]];
    list.replaceChildren(...found.slice(page * PER, (page + 1) * PER).map((i) => {
      const ident = data.samples.id[i];
      const line = el("span", { class: "line", dir: "auto" });
      show(line, data.samples.transcript?.[i] || (data.samples.references?.[i] ?? []).join(" / "), words);
      return el("li", {}, el("a", { href: Report.link(name, { id: ident }), "data-i": i, "aria-current": ident === current ? "true" : false },
        el("span", { class: "top" }, show(el("span", { class: "ident" }), ident, words), el("span", { class: "chips" }, ...chosen.map((key) => chip(key, i)))), line));
    }));
    if (!found.length && data.size) list.replaceChildren(el("li", { class: "muted none" }, "No sample fits. Clear a filter."));
    pager.hidden = last === 0;
    pager.children[0].disabled = page === 0;
    pager.children[2].disabled = page === last;
    pager.children[1].textContent = `page ${page + 1} of ${last + 1}`;
    detailOf(current);
    state();
  }

  function choose(i, focus) {
    current = data.samples.id[i];
    const place = found.indexOf(i);
    if (place >= 0) page = Math.floor(place / PER);
    draw();
    if (focus && matchMedia("(max-width: 56rem)").matches) { detail.scrollIntoView(); detail.focus({ preventScroll: true }); }
    else list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    const place = found.findIndex((i) => data.samples.id[i] === current);
    const next = place < 0 ? 0 : Math.min(Math.max(place + step, 0), found.length - 1);
    if (found.length) choose(found[next], false);
  }

  function keys(event) {
    if (article.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea, audio");
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing) return;
    const act = { j: () => move(1), k: () => move(-1), "/": () => field("q").focus(), p: play }[event.key];
    if (act) { event.preventDefault(); act(); }
  }

  function play() {
    const audio = detail.querySelector("audio");
    if (audio) audio.paused ? audio.play().catch(() => {}) : audio.pause();
  }

  // ---- one sample

  let drawn = "";

  function detailOf(ident) {
    const i = data.samples.id ? data.samples.id.indexOf(ident) : -1;
    if (i < 0) { drawn = ""; detail.replaceChildren(el("p", { class: "muted" }, ident && data.size >= meta.count ? "This sample is not in the task." : "Choose a sample.")); return; }
    const now = [ident, chosen.join(), terms().join(" "), chosen.map((key) => (data.runs.get(key)?.size ?? 0) > i)].join("|");
    if (now === drawn) return; // a playing clip goes on
    const words = terms(), samples = data.samples, before = detail.querySelector(".sound"), same = drawn.split("|")[0] === ident;
    drawn = now;
    const groups = Object.entries(samples.groups).filter(([, values]) => values[i]).map(([group, values]) => [group, values[i]]);
    const rows = [];
    if (samples.transcript?.[i]) rows.push(["Spoken words", quoted(samples.transcript[i], words)]);
    if (samples.references?.[i]?.length) rows.push([samples.references[i].length > 1 ? "Accepted answers" : "Reference", el("div", {}, ...samples.references[i].map((text) => quoted(text, words)))]);
    if (samples.prompt?.[i]) rows.push(["Prompt", quoted(samples.prompt[i], words)]);
    detail.replaceChildren(
      el("header", {}, show(el("h2", {}), ident), el("button", { type: "button", class: "quiet", onclick: copy }, "Copy link")),
      same && before ? before : sound(i),
      el("p", { class: "tags" }, ...groups.map(([group, value]) => el("span", { class: "tag" }, show(el("span", { class: "muted" }), `${group} `), show(el("span", {}), value)))),
      el("dl", { class: "facts" }, ...rows.map(([title, node]) => el("div", {}, el("dt", {}, title), el("dd", {}, node)))),
      el("div", { class: "answers" }, ...chosen.map((key) => answerOf(key, i, words))));
  }

  function copy(event) {
    const button = event.target;
    navigator.clipboard?.writeText(location.href).then(() => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy link"; }, 1500); },
      () => { button.textContent = "See the address bar"; });
  }

  function sound(i) {
    const clip = data.samples.clip[i], seconds = data.samples.seconds[i];
    const box = el("div", { class: "sound" });
    if (!clip) { box.append(el("p", { class: "muted small" }, meta.hidden ? "The sound is licensed." : meta.sound ? "The sound of this sample was left out." : "No sound in this report.")); return box; }
    const picture = el("img", { class: "spectrogram", alt: `Spectrogram of the clip, ${seconds} seconds, 0 to 8 kHz`, width: 400, height: 112, loading: "lazy" });
    const head = el("span", { class: "head", "aria-hidden": "true" });
    const audio = el("audio", { controls: true, preload: "none", "aria-label": `Clip of ${data.samples.id[i]}` });
    audio.addEventListener("timeupdate", () => head.style.setProperty("left", `${(100 * audio.currentTime) / (audio.duration || seconds || 1)}%`));
    const frame = el("div", { class: "frame" }, picture, head);
    frame.addEventListener("click", (event) => {
      const at = (event.clientX - frame.getBoundingClientRect().left) / frame.clientWidth;
      const go = () => { audio.currentTime = at * audio.duration; audio.play().catch(() => {}); };
      if (audio.readyState) go(); else { audio.addEventListener("loadedmetadata", go, { once: true }); audio.load(); }
    });
    Report.clip(clip, "opus").then((address) => { audio.src = address; });
    Report.clip(clip, "png").then((address) => { picture.src = address; });
    box.append(frame, audio);
    return box;
  }

  function answerOf(key, i, words) {
    const run = data.runs.get(key), about = runs.get(key);
    const box = el("section", { class: "answer" }, el("h3", {}, el("a", { href: Report.link(`runs/${key}`) }, about.label), " ", chip(key, i)));
    if (!run || run.size <= i) { box.append(el("p", { class: "muted" }, "loading")); return box; }
    const code = run.status[i];
    if (code === "e") box.append(el("p", { class: "problem" }, "error: not scored"));
    if (code === "u") box.append(el("p", { class: "problem" }, "unsupported: scored as an empty answer"));
    if (code === "m") box.append(el("p", { class: "muted" }, "no answer yet"));
    if (run.detail?.[i]) box.append(quoted(run.detail[i], words));
    if (run.label?.[i]) box.append(el("p", { class: "label" }, el("span", { class: "muted" }, "label "), show(el("b", {}), run.label[i]), run.unparsed?.has(i) ? el("span", { class: "problem" }, " the text names no one label") : ""));
    if (code === "o" && run.text) box.append(quoted(run.text[i], words));
    if (code === "o" && !run.text && !run.label) box.append(el("p", { class: "muted" }, "The text is left out: the data is licensed."));
    const values = about.metrics.map((metric) => [metric, score(key, i, metric)]).filter(([, value]) => value !== null);
    if (values.length) box.append(el("p", { class: "scores" }, ...values.map(([metric, value]) => el("span", {}, `${metric} `, el("b", {}, value.toFixed(1))))));
    if (run.choices?.[i]) box.append(likelihoods(run.choice_names, run.choices[i]));
    if (run.heard?.[i] != null) box.append(el("div", { class: "heard" }, el("span", { class: "muted" }, "heard: "), heard(run.heard[i], data.samples.transcript?.[i] || "")));
    return box;
  }

  function likelihoods(names, logs) {
    const most = Math.max(...logs.filter((x) => x !== null)), weights = logs.map((x) => (x === null ? 0 : Math.exp(x - most)));
    const total = weights.reduce((a, b) => a + b, 0);
    const rows = names.map((label, k) => [label, weights[k] / total]).sort((a, b) => b[1] - a[1]).slice(0, 6);
    return el("p", { class: "likelihoods" }, el("span", { class: "muted" }, "likelihood "), ...rows.map(([label, share]) => show(el("span", { class: "share" }), `${label} ${Math.round(100 * share)} %`)));
  }

  /** What a recogniser heard, with the words that differ from the transcript marked: added, and left out. */
  function heard(text, transcript) {
    const out = el("span", { dir: "auto" });
    const norm = (word) => word.toLowerCase().replace(/[^\p{L}\p{N}']/gu, "");
    const a = transcript.split(/\s+/).filter(Boolean), b = text.split(/\s+/).filter(Boolean);
    if (!a.length || a.length * b.length > 40000) return show(out, text);
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) table[i][j] = norm(a[i]) === norm(b[j]) ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && norm(a[i]) === norm(b[j])) { show(out, `${b[j]} `); i++; j++; }
      else if (j < b.length && (i === a.length || table[i][j + 1] >= table[i + 1][j])) { out.append(show(el("ins", {}), b[j]), " "); j++; }
      else { out.append(show(el("del", {}), a[i]), " "); i++; }
    }
    return out;
  }

  setUp();
  read(first);
  ready = true;
  samples().then(update, (why) => { status.textContent = `The samples cannot be loaded: ${why.message}.`; });
  return (fields) => { read(fields); drawn = ""; update(); };
});
