// What all pages share: data files, texts from outside, links, tables, one page at a time in a single file.
"use strict";

const Report = (() => {
  const body = document.body;
  const single = body.dataset.mode === "single";
  const root = body.dataset.root || "";
  const store = new Map(), waiting = new Map(), starts = new Map();

  // ---- data files

  /** Called by every data file. */
  function put(key, value) { store.set(key, value); }

  /** The value of a data file, loaded once. */
  function load(key) {
    if (store.has(key)) return Promise.resolve(store.get(key));
    if (single) {
      const block = document.querySelector(`script[data-key="${CSS.escape(key)}"]`);
      if (!block) return Promise.reject(new Error(`${key} is not in this file`));
      put(key, JSON.parse(block.textContent));
      return Promise.resolve(store.get(key));
    }
    if (!waiting.has(key)) {
      waiting.set(key, new Promise((done, fail) => {
        const script = document.createElement("script");
        script.src = `${root}data/${key}.js`;
        script.onload = () => { script.remove(); store.has(key) ? done(store.get(key)) : fail(new Error(`${key}.js is damaged`)); };
        script.onerror = () => fail(new Error(`data/${key}.js cannot be read`));
        document.head.append(script);
      }));
    }
    return waiting.get(key);
  }

  /** Address of a clip or of its picture. */
  async function clip(name, kind) {
    return single ? load(`clips/${name}.${kind}`) : `${root}clips/${name}.${kind}`;
  }

  // ---- texts: never HTML; characters that are invisible or have an effect are shown as escapes

  const HIDDEN = /(?![\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]/gu;

  function escaped(char) {
    const code = char.codePointAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
  }

  /** Add a text to an element. `terms`: lower-case words that are marked. */
  function show(node, text, terms = []) {
    let last = 0;
    for (const match of text.matchAll(HIDDEN)) {
      marked(node, text.slice(last, match.index), terms);
      node.append(el("span", { class: "escape", title: "an invisible character" }, escaped(match[0])));
      last = match.index + match[0].length;
    }
    marked(node, text.slice(last), terms);
    return node;
  }

  function marked(node, text, terms) {
    const lower = text.toLowerCase();
    if (lower.length !== text.length) terms = []; // places differ
    let at = 0;
    while (at < text.length) {
      let next = -1, length = 0;
      for (const term of terms) {
        const place = lower.indexOf(term, at);
        if (place >= 0 && (next < 0 || place < next)) { next = place; length = term.length; }
      }
      if (next < 0) break;
      node.append(text.slice(at, next), el("mark", {}, text.slice(next, next + length)));
      at = next + length;
    }
    if (at < text.length) node.append(text.slice(at));
  }

  /** An element with attributes and children; a string child is text. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  /** A block of foreign text, in its own direction of writing. */
  function quoted(text, terms) {
    return text === "" ? el("span", { class: "muted" }, "(nothing)") : show(el("div", { class: "quoted", dir: "auto" }), text, terms);
  }

  // ---- addresses: fields of a page stand behind #, in a single file behind its name

  function parts() {
    const hash = location.hash.slice(1);
    if (!single) return { page: null, fields: new URLSearchParams(hash) };
    const [page, query] = hash.startsWith("/") ? hash.slice(1).split("?") : ["", ""];
    return { page: page || "index", fields: new URLSearchParams(query || "") };
  }

  /** Keep the state of a page in its address, without a new entry in the history. */
  function keep(page, fields) {
    const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== "" && value != null)).toString();
    const hash = single ? `#/${page}${query ? `?${query}` : ""}` : `#${query}`;
    if (hash === location.hash || (hash === "#" && !location.hash)) return;
    history.replaceState(null, "", hash);
  }

  function link(page, fields = {}) {
    const query = new URLSearchParams(fields).toString();
    return single ? `#/${page}${query ? `?${query}` : ""}` : `${root}${page}.html${query ? `#${query}` : ""}`;
  }

  /** Start a page when it is shown: `start(article, fields)`; it returns a function for a changed address. */
  function page(prefix, start) { starts.set(prefix, start); }

  const running = new Map();

  function open() {
    const { page: wanted, fields } = parts();
    const articles = [...document.querySelectorAll("article.page")];
    if (single) {
      if (location.hash && !location.hash.startsWith("#/")) return;
      const there = articles.find((one) => one.dataset.page === wanted) || articles[0];
      const before = articles.find((one) => !one.hidden);
      for (const one of articles) one.hidden = one !== there;
      document.title = `${there.dataset.title} - diva-bench`;
      if (before !== there) { window.scrollTo(0, 0); document.getElementById("main").focus({ preventScroll: true }); }
      for (const one of document.querySelectorAll("header.top nav > a")) {
        if (one.getAttribute("href") === `#/${there.dataset.page}`) one.setAttribute("aria-current", "page"); else one.removeAttribute("aria-current");
      }
    }
    const now = articles.find((one) => !one.hidden);
    tables(now);
    const name = now.dataset.page;
    if (running.has(name)) { running.get(name)(fields); return; }
    const start = starts.get(name.split("/")[0]);
    if (start) running.set(name, start(now, fields));
  }

  // ---- tables

  const number = (cell) => { const v = parseFloat(cell?.dataset.v ?? cell?.textContent ?? ""); return Number.isNaN(v) ? null : v; };

  function tables(article) {
    for (const table of article.querySelectorAll("table[data-sortable]:not([data-ready])")) {
      table.dataset.ready = "";
      const heads = [...table.tHead.rows].find((row) => !row.classList.contains("groups")).cells;
      [...heads].forEach((head, column) => {
        const button = el("button", { type: "button", class: "sort", onclick: () => sort(table, heads, column) });
        button.append(...head.childNodes);
        head.append(button);
      });
    }
    for (const board of article.querySelectorAll("[data-board]:not([data-ready])")) { board.dataset.ready = ""; boards(board); }
    for (const list of article.querySelectorAll("[data-list]:not([data-ready])")) { list.dataset.ready = ""; lists(list); }
  }

  function sort(table, heads, column) {
    const head = heads[column], rows = [...table.tBodies[0].rows];
    const numeric = rows.some((row) => row.cells[column]?.dataset.v !== undefined);
    const lower = head.dataset.better === "lower" || !numeric;
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : lower;
    for (const one of heads) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column]?.textContent.trim().toLowerCase() ?? "");
    rows.map((row) => [key(row), row]).sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // without a number last, in both orders
      return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
    }).forEach(([, row]) => table.tBodies[0].append(row));
  }

  const has = (text, words) => words.toLowerCase().split(/[\s,]+/).filter(Boolean).some((word) => text.toLowerCase().includes(word)) || !words.trim();

  /** Models by tasks: hide rows and columns. */
  function boards(board) {
    const table = board.querySelector("table"), form = board.querySelector("form");
    const apply = () => {
      const field = (name) => form.querySelector(`[data-filter=${name}]`);
      table.classList.toggle("brief", !field("intervals").checked);
      let shown = 0, columns = 0;
      for (const row of table.tBodies[0].rows) { row.hidden = !has(row.dataset.name, field("rows").value); shown += !row.hidden; }
      [...table.tHead.rows[0].cells].forEach((head, i) => {
        if (!i) return;
        const off = !has(head.dataset.name, field("columns").value);
        columns += !off && head.dataset.name !== "mean";
        for (const row of table.rows) if (row.cells[i]) row.cells[i].hidden = off;
      });
      const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
      form.querySelector("[data-count]").textContent = `${counted(shown, "model")}, ${counted(columns, "task")}`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  /** The list of runs: hide rows. */
  function lists(list) {
    const form = list.querySelector("form"), rows = [...list.querySelectorAll("tbody tr")];
    const apply = () => {
      let shown = 0;
      for (const row of rows) {
        row.hidden = ![...form.querySelectorAll("[data-filter]")].every((field) => {
          if (field.dataset.filter !== "text") return !field.value || row.dataset[field.dataset.filter] === field.value;
          const text = row.textContent.toLowerCase();
          return field.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
        });
        shown += !row.hidden;
      }
      form.querySelector("[data-count]").textContent = `${shown} of ${rows.length} runs`;
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  // ---- columns of samples and answers

  /** The data of a task: columns that grow as their files arrive. `grown` is called after every file. */
  function columns(meta, grown) {
    const data = { size: 0, samples: {}, runs: new Map(), hay: [] };

    function add(target, part, from) {
      for (const [name, value] of Object.entries(part)) {
        if (Array.isArray(value)) {
          if (name === "choice_names") target[name] = value;
          else if (name === "unparsed") { target[name] ??= new Set(); for (const i of value) target[name].add(from + i); }
          else (target[name] ??= []).push(...value);
        } else if (typeof value === "string") target[name] = (target[name] ?? "") + value;
        else {
          target[name] ??= {};
          if (name === "detail") for (const [i, text] of Object.entries(value)) target[name][from + Number(i)] = text;
          else add(target[name], value, from);
        }
      }
    }

    async function samples() {
      for (let k = 0; k < meta.pages; k++) {
        const part = await load(`${meta.task}/${k}`);
        add(data.samples, part, data.size);
        data.size += part.id.length;
        grown();
      }
    }

    /** Load the answers of these runs, if they are not there. */
    async function answers(keys) {
      await Promise.all(keys.filter((key) => !data.runs.has(key)).map(async (key) => {
        const run = { size: 0 };
        data.runs.set(key, run);
        for (let k = 0; k < meta.pages; k++) {
          const part = await load(`${key}/${k}`);
          add(run, part, run.size);
          run.size += part.status.length;
          grown();
        }
      }));
      grown();
    }
    return { data, samples, answers };
  }

  // ---- the server of `diva-bench view` tells when runs have changed

  function watch() {
    const note = document.querySelector("header .live");
    let version = null;
    const look = async () => {
      try {
        const answer = await fetch(`${root}live.json`, { cache: "no-store" });
        const state = await answer.json();
        note.hidden = !state.text;
        note.textContent = state.text;
        if (version !== null && state.version !== version) changed();
        version = state.version;
      } catch { note.hidden = false; note.textContent = "The server has stopped."; }
      setTimeout(look, 2000);
    };
    const changed = () => {
      const playing = [...document.querySelectorAll("audio")].some((one) => !one.paused);
      const typing = document.activeElement?.matches("input, select, textarea") || !getSelection().isCollapsed;
      if (!playing && !typing) { location.reload(); return; }
      note.hidden = false;
      note.replaceChildren(el("button", { type: "button", onclick: () => location.reload() }, "New answers: show them"));
    };
    look();
  }

  window.addEventListener("hashchange", open);
  document.addEventListener("DOMContentLoaded", () => {
    open();
    if (body.dataset.live) watch();
    const menu = document.querySelector("details.menu");
    document.addEventListener("click", (event) => { if (menu?.open && (!menu.contains(event.target) || event.target.closest("a"))) menu.open = false; });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && menu?.open) { menu.open = false; menu.querySelector("summary").focus(); } });
  });

  return { put, load, clip, show, el, quoted, keep, link, page, columns };
})();
