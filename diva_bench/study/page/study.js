// The page of a study. Everything that is shown is set as text, never as HTML.
"use strict";
const RATE = 16000, POLL = 1000;  // Hz of a recording; milliseconds between two looks at the line
const $ = id => document.getElementById(id);
const fields = new URLSearchParams(location.search);
let study, page, voice, recording, timer, busy = false;

async function ask(name, body) {
  const sent = body === undefined ? {} : {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json"}};
  return answered(() => fetch("api/" + name, sent));
}

async function answered(send) {
  let answer;
  try { answer = await send(); }
  catch { throw new Error("No connection. Your votes so far are stored; try again."); }
  const value = await answer.json().catch(() => ({error: "The server does not answer as expected. Try again."}));
  if (!answer.ok) throw Object.assign(new Error(value.error), {status: answer.status});
  return value;
}

function show(name) {
  for (const id of ["enter", "record", "wait", "vote", "done"]) $(id).hidden = id !== name;
  $("leave").hidden = name === "enter";
  $("count").hidden = !["record", "vote"].includes(name);
}

function complain(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

async function trying(work) {  // one request at a time, so that a double click is one vote
  if (busy) return;
  busy = true;
  for (const button of document.querySelectorAll("button")) button.disabled = true;
  try { complain(""); await work(); }
  catch (error) { complain(error.message); }
  finally {
    busy = false;
    for (const button of document.querySelectorAll("button")) button.disabled = false;
  }
}

function button(text, work) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", work);
  return made;
}

async function vote(choice) {
  silence();
  await ask("vote", {id: page.id, choice});
  await next();
}

async function next(after = "") {
  page = await ask("next", {after});
  if (page.state === "done") return end(page.code ? study.texts.thanks : study.texts.nothing, page.code);
  if (page.state === "waiting") return wait();
  complain(page.failed ? study.texts.failed : "");
  $("count").textContent = `${page.votes + 1} / ${page.of}`;
  if (page.state === "record") return show("record");
  forget();
  choose();
}

function end(thanks, code) {
  clearTimeout(timer);
  timer = undefined;
  forget();
  $("thanks").textContent = thanks;
  $("code").textContent = code;
  show("done");
}

function wait() {  // until the answers are there, also through a lost connection
  $("waiting").textContent = page.place > 1 ? `${study.texts.line} ${page.place}` : study.texts.waiting;
  show("wait");
  const id = page.id;
  const look = () => {
    timer = setTimeout(() => next(id).catch(error => {
      if (!timer) return;
      complain(error.message);
      if (error.status !== 401) look();
    }), POLL);
  };
  look();
}

function choose() {
  $("words").textContent = page.words;
  $("words").hidden = !page.words;
  $("clip").hidden = !page.sound;
  if (page.sound) $("clip").src = "api/clip/" + page.id;
  else $("clip").removeAttribute("src");
  const heard = study.speak && "speechSynthesis" in window;
  $("answers").replaceChildren(...page.answers.map((text, place) => {
    const card = document.createElement("article");
    const head = document.createElement("h2"), words = document.createElement("p");
    head.textContent = `${study.texts.answer} ${place + 1}`;
    words.textContent = study.written || !heard ? text.trim() || study.texts.empty : "";
    words.className = "text";
    card.append(head, words);
    if (heard) {
      const listen = button(study.texts.hear, () => say(text));
      listen.className = "second";
      card.append(listen);
    }
    card.append(button(study.texts.better, () => trying(() => vote(place))));
    return card;
  }));
  $("others").replaceChildren(...study.others.map(other => button(study.texts[other], () => trying(() => vote(other)))));
  show("vote");
  scrollTo(0, 0);
}

// ---- spoken answers

function say(text) {  // one voice for all systems, chosen once
  silence();
  const words = new SpeechSynthesisUtterance(text.trim() || study.texts.empty);
  if (voice === undefined) {
    const fit = speechSynthesis.getVoices().filter(v => v.lang.replace("_", "-").startsWith(study.language));
    voice = fit.find(v => v.default) ?? fit[0] ?? null;
  }
  words.lang = study.language;
  if (voice) words.voice = voice;
  speechSynthesis.speak(words);
}

function silence() {
  if ("speechSynthesis" in window) speechSynthesis.cancel();
}

// ---- recordings: 16 kHz, mono, 16 bit, made here

async function start() {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({audio: {channelCount: 1}}); }
  catch { throw new Error(study.texts.microphone); }  // also without a secure connection, where there is no mediaDevices
  const context = new AudioContext();
  await context.audioWorklet.addModule("recorder.js");
  const node = new AudioWorkletNode(context, "recorder", {channelCount: 1, channelCountMode: "explicit"});
  const made = {stream, context, chunks: [], length: 0};
  node.port.onmessage = ({data}) => {
    if (recording !== made) return;
    made.chunks.push(data);
    made.length += data.length;
    const seconds = made.length / context.sampleRate;
    $("time").textContent = `${seconds.toFixed(1)} / ${study.record.most} s`;
    if (seconds >= study.record.most) trying(finish);
  };
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);  // the node itself is silent
  drop();
  recording = made;
  $("speak").textContent = study.texts.stop;
  $("speak").className = "on";
}

async function finish() {
  const made = recording;
  recording = undefined;
  $("speak").textContent = study.texts.again;
  $("speak").className = "second";
  for (const track of made.stream.getTracks()) track.stop();
  const rate = made.context.sampleRate;
  await made.context.close();
  if (!made.length) throw new Error(study.texts.microphone);
  const samples = new Float32Array(made.length);
  made.chunks.reduce((at, chunk) => { samples.set(chunk, at); return at + chunk.length; }, 0);
  const length = Math.min(Math.round(made.length * RATE / rate), study.record.most * RATE);
  const offline = new OfflineAudioContext(1, Math.max(1, length), RATE);  // the browser resamples
  const source = new AudioBufferSourceNode(offline, {buffer: new AudioBuffer({length: made.length, sampleRate: rate})});
  source.buffer.copyToChannel(samples, 0);
  source.connect(offline.destination);
  source.start();
  keep(wav((await offline.startRendering()).getChannelData(0)));
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  words(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); words(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  words(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], {type: "audio/wav"});
}

let sound;  // the recording that can be sent, and is sent again if a system fails

function keep(blob) {
  sound = blob;
  $("own").src = URL.createObjectURL(blob);
  $("own").hidden = $("send").hidden = false;
}

function drop() {
  URL.revokeObjectURL($("own").src);
  $("own").removeAttribute("src");
  sound = undefined;
  $("own").hidden = $("send").hidden = true;
}

function forget() {
  if (recording) for (const track of recording.stream.getTracks()) track.stop();
  recording = undefined;
  drop();
  $("time").textContent = "";
  $("speak").textContent = study.texts.record;
  $("speak").className = "";
}

async function send() {
  $("own").pause();
  const headers = {"Content-Type": "audio/wav"};
  await answered(() => fetch("api/recording/" + page.id, {method: "POST", body: sound, headers}));
  await next();
}

// ---- the first page

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
    const known = Object.fromEntries(["key", "link", "rater"].map(name => [name, fields.get(name) ?? ""]));
    await ask("enter", {agree: true, questions: given, keep: $("keeps").checked, ...known});
    await next();
  });
});
$("speak").addEventListener("click", () => trying(recording ? finish : start));
$("send").addEventListener("click", () => trying(send));
$("clip").addEventListener("error", () => $("clip").src && complain("The clip cannot be played. Load the page again."));
$("withdraw").addEventListener("click", () => {
  if (confirm(study.texts.withdraw + "?")) trying(async () => {
    silence();
    await ask("withdraw", {});
    end(study.texts.withdrawn, "");
    $("leave").hidden = true;
  });
});
trying(async () => {
  study = await ask("study");
  document.title = $("title").textContent = study.title;
  document.documentElement.lang = study.language;
  $("consent").textContent = study.consent;
  $("start").textContent = study.texts.start;
  $("task").textContent = study.texts.task;
  $("ask").textContent = study.texts.ask;
  $("send").textContent = study.texts.send;
  $("keep-text").textContent = study.texts.keep;
  $("keep").hidden = !(study.record && study.record.keep);
  $("withdraw").textContent = study.texts.withdraw;
  $("questions").replaceChildren(...questions());
  forget();
  silence();
  if (study.known) await next();
  else show("enter");
});
