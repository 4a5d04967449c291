// The page of a study. Everything that is shown is set as text, never as HTML.
"use strict";
const $ = id => document.getElementById(id);
const fields = new URLSearchParams(location.search);
let study, page, busy = false;

async function ask(name, body) {
  const sent = body === undefined ? {} : {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json"}};
  let answer;
  try { answer = await fetch("api/" + name, sent); }
  catch { throw new Error("No connection. Your votes so far are stored; try again."); }
  const value = await answer.json().catch(() => ({error: "The server does not answer as expected. Try again."}));
  if (!answer.ok) throw Object.assign(new Error(value.error), {status: answer.status});
  return value;
}

function show(name) {
  for (const id of ["enter", "vote", "done"]) $(id).hidden = id !== name;
  $("leave").hidden = name === "enter";
}

async function trying(work) {  // one request at a time, so that a double click is one vote
  if (busy) return;
  busy = true;
  for (const button of document.querySelectorAll("button")) button.disabled = true;
  try { $("error").hidden = true; await work(); }
  catch (error) { $("error").textContent = error.message; $("error").hidden = false; }
  finally {
    busy = false;
    for (const button of document.querySelectorAll("button")) button.disabled = false;
  }
}

function button(text, work) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", () => trying(work));
  return made;
}

async function vote(choice) {
  await ask("vote", {id: page.id, choice});
  await next();
}

async function next() {
  page = await ask("next", {});
  if (page.state === "done") {
    $("thanks").textContent = page.code ? study.texts.thanks : study.texts.nothing;
    $("code").textContent = page.code;
    return show("done");
  }
  $("count").textContent = `${page.votes + 1} / ${page.of}`;
  $("words").textContent = page.words;
  $("words").hidden = !page.words;
  $("clip").hidden = !page.sound;
  URL.revokeObjectURL($("clip").src);
  $("clip").removeAttribute("src");
  if (page.sound) {  // as a whole: some phones play nothing from a server without ranges
    const clip = await fetch("api/clip/" + page.id);
    if (!clip.ok) throw new Error((await clip.json()).error);
    $("clip").src = URL.createObjectURL(await clip.blob());
  }
  $("answers").replaceChildren(...page.answers.map((text, place) => {
    const card = document.createElement("article");
    const head = document.createElement("h2"), words = document.createElement("p");
    head.textContent = `${study.texts.answer} ${place + 1}`;
    words.textContent = text;
    words.className = "text";
    card.append(head, words, button(study.texts.better, () => vote(place)));
    return card;
  }));
  $("others").replaceChildren(...study.others.map(other => button(study.texts[other], () => vote(other))));
  show("vote");
  scrollTo(0, 0);
}

function questions() {
  return study.questions.map(question => {
    const label = document.createElement("label");
    label.textContent = question.text;
    const field = document.createElement(question.choices.length ? "select" : "input");
    field.name = question.name;
    if (question.choices.length)
      field.append(...["", ...question.choices].map(choice => new Option(choice, choice)));
    else field.maxLength = 200;
    label.append(field);
    return label;
  });
}

$("form").addEventListener("submit", event => {
  event.preventDefault();
  trying(async () => {
    const given = Object.fromEntries([...$("questions").querySelectorAll("select, input")].map(f => [f.name, f.value]));
    await ask("enter", {agree: true, questions: given, key: fields.get("key") ?? "", link: fields.get("link") ?? "", rater: fields.get("rater") ?? ""});
    await next();
  });
});
$("withdraw").addEventListener("click", () => {
  if (confirm(study.texts.withdraw + "?")) trying(async () => {
    await ask("withdraw", {});
    $("thanks").textContent = study.texts.withdrawn;
    $("code").textContent = "";
    show("done");
    $("leave").hidden = true;
  });
});
trying(async () => {
  study = await ask("study");
  document.title = $("title").textContent = study.title;
  $("consent").textContent = study.consent;
  $("start").textContent = study.texts.start;
  $("task").textContent = study.texts.task;
  $("withdraw").textContent = study.texts.withdraw;
  $("questions").replaceChildren(...questions());
  try { await next(); } catch (error) { if (error.status !== 401) throw error; show("enter"); }
});
