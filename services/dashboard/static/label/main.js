// The labelling page: takes questions, shows one, sends its answer, and has the next ones ready.

import { call } from "./api.js";
import { Classes } from "./classes.js";
import { palette } from "./colors.js";
import { listen } from "./keys.js";
import { layers } from "./layers.js";
import { AHEAD, load } from "./load.js";
import { Outbox, newId } from "./outbox.js";
import { Pointer } from "./pointer.js";
import { runs } from "./raster.js";
import { DRAWN, task } from "./task.js";
import { Timer } from "./timer.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const page = $("label");
const person = page.dataset.person;
const KEPT = 20; // answers that can be taken back
const LOOK = 3000; // ms between two looks for new questions where there are none
const RENEW = 60000;

const WAITS = {
  held: "Others hold the remaining questions. If one becomes free, it appears here.",
  others: "You have answered all that is left of this round; others are still at it. Thank you!",
  closed: "This round is done. The next questions appear here by themselves.",
  no_round: "The model learns from the answers. The next questions appear here by themselves.",
  spent: "The budget of this round is spent. The next questions appear here by themselves.",
};
const ASKED = {
  dominant: ["Which class covers most of the region?", "One key answers and shows the next question."],
  multi_class: ["Which classes does the region show?", "Keys switch classes on and off; Enter sends."],
  mask: ["Draw the classes inside the region", "Choose a class, then draw; Enter sends."],
  polygon_in_patch: ["Draw polygons inside the region", "Choose a class, then click corners; Enter closes, then sends."],
  image: ["Draw the classes of the whole image", "Choose a class, then draw; Enter sends."],
  pixel: ["Which class has the marked pixel?", "One key for each pixel; the last one sends."],
};

const now = { question: null, task: null, round: null, palette: [], pointer: null, options: {} };
now.options = { prediction: false, superpixels: false, safe: localStorage.getItem("tessera.safe-colors") === "1" };
let queue = []; // leased questions after the current one
let done = []; // answered ones that can be taken back, the newest last
let finished = new Set(); // ids that are answered here, so that a late list does not bring them back
let coming = ""; // id of the question that is being loaded to be shown
let sure = false; // whether Enter was pressed on an answer that leaves pixels open
let fetching = null;
let looking = 0;

const view = new View($("canvas"), $("overview"));
const timer = new Timer();
const outbox = new Outbox(person, sent);
const classes = new Classes($("palette"), $("find"), pick);
const tool = {
  press(x, y) {
    if (!DRAWN.has(now.round.query)) return false;
    timer.click();
    const used = now.task.press(x, y, 10 / view.scale);
    changed();
    return used;
  },
  move(x, y) {
    now.pointer = [x, y];
    now.task.move?.(x, y);
    view.draw();
  },
  release() {
    now.task.release?.();
    changed();
  },
  cancel() {
    now.task.release?.();
  },
  hover(x, y) {
    now.pointer = [x, y];
    if (now.task?.path?.length || now.task?.tool === "brush") view.draw();
  },
};
new Pointer(view, tool);
view.layers = layers(now);

// ---- rounds and questions

async function choose() {
  if (page.dataset.run) return enter("");
  const found = await told(() => call("rounds"));
  if (!found) return again(choose);
  const key = new URLSearchParams(location.search).get("round");
  const named = found.rounds.find((one) => one.key === key);
  if (named || found.rounds.length === 1) return enter((named ?? found.rounds[0]).key);
  const list = document.createElement("ul");
  for (const one of found.rounds) {
    const press = document.createElement("button");
    press.className = "quiet";
    press.textContent = `${one.runs.join(", ")}: round ${one.round}`;
    const about = document.createElement("small");
    about.textContent = `${one.dataset}, ${one.query.replaceAll("_", " ")}, ${one.questions} questions`;
    press.append(about);
    press.addEventListener("click", () => enter(one.key));
    const item = document.createElement("li");
    item.append(press);
    list.append(item);
  }
  $("rounds").replaceChildren(list);
  say(found.rounds.length ? "" : "No run waits for people now. When one does, its questions appear here by themselves.");
  again(choose);
}

let round = null; // the key of the chosen round; "" where the link names the run
function enter(key) {
  round = key;
  clearTimeout(looking);
  $("pick").hidden = true;
  more();
}

// Fill the queue. One request at a time; what is held already comes back and is skipped.
function more() {
  fetching ??= (async () => {
    // Also those that leave while the list is on its way, which names them still.
    const sending = outbox.waiting();
    const found = await told(() => call("next", { round, count: 1 + AHEAD }));
    fetching = null;
    if (!found) return again(more);
    if (found.round) now.next = found.round;
    progress(found.progress);
    const waiting = new Set([...sending, ...outbox.waiting()]);
    const known = new Set([...queue.map((one) => one.id), now.question?.id, coming]);
    for (const question of found.questions)
      if (!known.has(question.id) && !waiting.has(question.id) && !finished.has(question.id)) {
        question.round = found.round;
        queue.push(question);
        load(question).catch(() => {}); // shown with its failure when its turn comes
      }
    if (now.question || coming) return;
    if (queue.length) return advance();
    idle(WAITS[found.wait] ?? WAITS.closed);
  })();
  return fetching;
}

function idle(words) {
  $("work").hidden = true;
  say(words);
  // A link for one run waits for its next round; a chosen round that is over leads back to the list.
  again(page.dataset.run ? more : () => (round = null, $("pick").hidden = false, choose()));
}

function again(what) {
  clearTimeout(looking);
  looking = setTimeout(what, LOOK);
}

async function advance() {
  const question = queue.shift();
  if (!question) {
    now.question = null;
    view.question = null;
    return more();
  }
  coming = question.id;
  try {
    await load(question);
    coming = "";
  } catch (failure) {
    coming = "";
    queue.unshift(question);
    now.question = null;
    say(failure.message, true);
    if (failure.status === 403 || failure.status === 404) queue = []; // addresses are old: ask for new ones
    return again(more);
  }
  show(question, null);
  if (queue.length < AHEAD) more();
}

// Show a question; `earlier` is its task where an answer is taken back.
function show(question, earlier) {
  say("");
  sure = false;
  now.question = question;
  now.round = question.round;
  now.task = earlier?.task ?? task(question, question.round);
  now.corrects = earlier ? earlier.id : "";
  if (question.answered && !earlier) now.corrects = question.id;
  const draft = earlier ? null : JSON.parse(localStorage.getItem(draftKey()) ?? "null");
  timer.reset(draft?.seconds ?? 0, draft?.clicks ?? 0);
  if (draft) now.task.restore(draft.state);
  const drawn = DRAWN.has(now.round.query);
  $("work").hidden = false;
  $("tools").hidden = !drawn;
  $("tool-superpixel").hidden = $("show-superpixels").hidden = !question.segments;
  $("start").hidden = !drawn || !question.predicted;
  $("show-prediction").hidden = !question.predicted;
  $("skip-open").disabled = Boolean(now.corrects);
  const [asked, hint] = ASKED[now.round.query] ?? [now.round.query, ""];
  $("asked").textContent = asked;
  $("hint").textContent = now.corrects ? "You correct an answer that you gave." : hint;
  $("canvas").setAttribute("aria-label", `Region ${question.rank + 1} in image ${question.imageId}`);
  buildPalette();
  view.show(question);
  changed(false);
  page.dataset.question = question.id;
  performance.mark(`shown ${question.id}`);
}

// ---- answers

function answerNow() {
  const missing = now.task.missing();
  if (missing) return say(missing, true);
  const doubt = sure ? "" : (now.task.doubt?.() ?? "");
  if (doubt) {
    sure = true;
    return say(doubt, true);
  }
  const { raster, drawing, ...rest } = now.task.answer();
  put("answer", { ...rest, ...(raster ? runs(raster) : {}), drawing: drawing ?? "", corrects: Boolean(now.corrects) });
}

function put(path, body) {
  const { question } = now;
  const id = newId();
  try {
    outbox.put(path, { id, question: question.id, seconds: timer.seconds(), clicks: timer.clicks, ...body });
  } catch {
    return say("The browser's storage is full: the answer is not sent yet. Free some space, then send again.", true);
  }
  localStorage.removeItem(draftKey());
  finished.add(question.id);
  done.push({ question, task: now.task, id, skipped: path === "skip" });
  done = done.slice(-KEPT);
  performance.mark(`answered ${question.id}`);
  now.question = null;
  advance();
}

function skip(reason) {
  $("skip").close();
  if (reason.trim()) put("skip", { reason: reason.trim() });
}

function undo() {
  timer.click();
  sure = false;
  if (now.task?.undo()) return changed();
  const last = done.pop();
  if (!last) return say("There is nothing to undo.");
  if (now.question) queue.unshift(now.question);
  if (last.skipped) last.task = task(last.question, last.question.round);
  show(last.question, last);
}

function redo() {
  timer.click();
  if (now.task.redo()) changed();
  else say("There is nothing to redo.");
}

// What became of an answer.
function sent(waiting, failure, response) {
  const words = { 0: "No network", 401: "Signed out: open your link again", 429: "Too fast: waiting" };
  const plural = `${waiting} answer${waiting === 1 ? "" : "s"}`;
  $("sending").textContent = !waiting ? "" : failure ? `${words[failure.status] ?? "Server trouble"} · ${plural} kept here` : "";
  if (failure && !failure.again) say(`An answer was not taken: ${failure.message}`, true);
  if (response?.progress) progress(response.progress);
  if (response && response.outcome === "late") say("The round was closed before your last answer came.");
  page.dataset.waiting = waiting;
}

function progress(counts) {
  if (!counts?.questions) return;
  $("progress").max = counts.questions;
  $("progress").value = counts.settled;
  $("progress-words").textContent = `${counts.settled} of ${counts.questions} done · ${counts.mine} by you`;
}

// ---- the panel

function buildPalette() {
  now.palette = palette(now.round.classes, now.round.ignore, now.options.safe);
  classes.build(now.palette);
}

function pick(index) {
  timer.click();
  const complete = now.task.choose(index);
  changed();
  if (complete) answerNow();
  else $("canvas").focus({ preventScroll: true });
}

// Show the state of the task; `save` keeps it as a draft that survives a closed tab.
function changed(save = true) {
  if (!now.question) return;
  classes.mark((index) => now.task.pressed(index));
  for (const name of ["polygon", "brush", "superpixel"])
    $(`tool-${name}`).setAttribute("aria-pressed", String(now.task.tool === name));
  $("show-prediction").setAttribute("aria-pressed", String(now.options.prediction));
  $("show-superpixels").setAttribute("aria-pressed", String(now.options.superpixels));
  if (save) {
    sure = false;
    const state = now.task.draft();
    try {
      if (state) localStorage.setItem(draftKey(), JSON.stringify({ state, seconds: timer.seconds(), clicks: timer.clicks }));
    } catch {
      // Without room for a draft the answer itself can still be sent.
    }
  }
  view.draw();
}

function draftKey() {
  return `tessera.draft.${person}.${now.question.id}`;
}

function say(words, bad = false) {
  $("say").textContent = words;
  $("say").classList.toggle("bad", bad);
}

async function told(what) {
  try {
    const found = await what();
    return found;
  } catch (failure) {
    const over = failure.status === 401 ? "You are signed out. Open your link again." : failure.message;
    if (!now.question) say(over, true);
    return null;
  }
}

const use = (name) => {
  if (name === "superpixel" && !now.question.segments) return;
  now.task.tool = name;
  changed();
};
const show_ = (name) => {
  now.options[name] = !now.options[name];
  changed(false);
};
const middle = () => view.size().map((one) => one / 2);
const presses = {
  "tool-polygon": () => use("polygon"),
  "tool-brush": () => use("brush"),
  "tool-superpixel": () => use("superpixel"),
  fill: () => (timer.click(), now.task.fill(), changed()),
  start: () => (timer.click(), now.task.start(), changed()),
  "zoom-in": () => view.zoom(1.4, ...middle()),
  "zoom-out": () => view.zoom(1 / 1.4, ...middle()),
  "zoom-fit": () => view.fit(),
  "zoom-image": () => view.fit(true),
  "show-prediction": () => show_("prediction"),
  "show-superpixels": () => show_("superpixels"),
  send: () => (timer.click(), now.task.close?.() ? changed() : answerNow()),
  undo,
  "skip-open": () => now.corrects || $("skip").showModal(),
  "skip-send": () => skip($("skip-words").value),
  "skip-close": () => $("skip").close(),
  "help-open": () => $("help").showModal(),
  "help-close": () => $("help").close(),
};
for (const [id, act] of Object.entries(presses)) $(id).addEventListener("click", act);
for (const press of document.querySelectorAll("[data-reason]"))
  press.addEventListener("click", () => skip(press.dataset.reason));
$("safe-colors").checked = now.options.safe;
$("safe-colors").addEventListener("change", (event) => {
  now.options.safe = event.target.checked;
  localStorage.setItem("tessera.safe-colors", now.options.safe ? "1" : "0");
  if (now.question) buildPalette();
  changed(false);
});

listen({
  now,
  view,
  pick,
  undo,
  redo,
  press(id) {
    if ($(id).hidden || $(id).disabled) return false;
    $(id).click();
    return true;
  },
  resize(factor) {
    now.task.resize(factor);
    view.draw();
  },
  escape() {
    if (!now.task.drop?.()) return false;
    changed();
    return true;
  },
  find: () => classes.find(),
});

setInterval(async () => {
  const held = [now.question, ...queue].filter(Boolean).map((one) => one.id);
  if (!held.length || document.hidden) return;
  const found = await told(() => call("renew", { questions: held }));
  // What is no longer ours waits for nobody; the one that is being answered is sent all the same.
  if (found) queue = queue.filter((one) => found.held.includes(one.id));
}, RENEW);

// For robots and tests: where things are, and what state they are in.
window.tesseraPage = { now, view, outbox, screen: (x, y) => view.screen(x, y) };

outbox.send();
choose();
