// Shows what the server's stream says. Whatever comes from there is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const ROW = 28; // pixels of a connection's row, as in page.css
const SPARE = 4; // rows above and below the screen, so that a small scroll shows no gap
const MOMENTS = 120; // looks that a chart shows
const KEPT = 100; // happenings

// What is on the screen: the server sends that and nothing else.
const view = { open: new Set(), shut: new Set(), actor: "", search: "", order: "rate", first: 0, rows: 20 };

// Words

const whole = new Intl.NumberFormat("en");
const number = (n) => (n === null || n === undefined ? "–" : whole.format(n));

function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (bytes < 999.5 || unit === "TB") return `${unit === "B" ? bytes : bytes.toPrecision(3)} ${unit}`;
    bytes /= 1000;
  }
}

function delay(seconds) {
  const [unit, one] = seconds < 0.9995e-3 ? ["µs", 1e-6] : seconds < 0.9995 ? ["ms", 1e-3] : ["s", 1];
  const value = seconds / one;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** The same, for a column. */
const briefly = (seconds) => age(seconds).replace(/ (s|min|h|d) .*/, " $1");

function make(tag, kind, text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The stream. Another view is another stream, which begins with all of it.

let stream = null;
let retry = 0;
let silence = 0;
let system = { time: 0, period: 1 };
let goneSince = null;

function connect() {
  if (stream) stream.close();
  clearTimeout(retry);
  const query = new URLSearchParams({
    open: [...view.open].join(), shut: [...view.shut].join(), actor: view.actor,
    search: view.search, order: view.order, first: view.first, rows: view.rows,
  });
  stream = new EventSource(`events?${query}`);
  stream.onmessage = (message) => show(JSON.parse(message.data));
  stream.onerror = lost;
}

function lost() {
  stream.close();
  goneSince ||= new Date();
  document.body.dataset.link = "gone";
  say($("link"), `cut off since ${goneSince.toLocaleTimeString()}; trying again`);
  clearTimeout(retry);
  retry = setTimeout(connect, 1000);
}

let changing = 0;
function changed(wait = 0) {
  clearTimeout(changing);
  changing = setTimeout(connect, wait);
}

function show(seen) {
  clearTimeout(silence);
  if (seen.system) showSystem(seen.system);
  if (seen.tree) showTree(seen.tree);
  if (seen.connections) showConnections(seen.connections);
  if ("actor" in seen) showDetails(seen.actor);
  if (seen.events) showEvents(seen.events);
  passTime();
  // A dead network says nothing at all.
  silence = setTimeout(lost, 10000 + 3000 * system.period);
}

function showSystem(now) {
  const isAnother = system.began !== undefined && system.began !== now.began;
  if (isAnother) {
    for (const chart of charts) chart.gap();
    lastEvent = 0;
  }
  if (goneSince || document.body.dataset.link !== "live") {
    goneSince = null;
    document.body.dataset.link = "live";
    say($("link"), isAnother ? "live; the server was started again" : "live");
    if (isAnother) setTimeout(() => document.body.dataset.link === "live" && say($("link"), "live"), 10000);
  }
  const isNew = isAnother || now.time !== system.time;
  system = now;
  say($("name"), now.name);
  $("others").hidden = !now.has_others;
  document.title = `${now.name}: actors`;
  say($("actors"), number(now.actors));
  say($("connected"), number(now.connections));
  say($("waiting"), number(now.waiting));
  say($("dead"), number(now.dead_letters));
  say($("up"), briefly(now.time - now.started));
  if (!isNew || now.messages === null) return;
  charts[0].add([now.messages]);
  charts[1].add([now.bytes_in, now.bytes_out]);
  charts[2].add(now.delay);
  say($("messages"), number(now.messages));
  say($("bytes"), `${size(now.bytes_in)} · ${size(now.bytes_out)}`);
  if (now.delay) say($("delay"), now.delay.map(delay).join(" · "));
}

// Charts

class Chart {
  constructor(id, words, { low = 0, log = false }) {
    this.svg = $(id);
    this.label = this.svg.nextElementSibling;
    this.words = words;
    this.low = low;
    this.scale = log ? (value) => Math.log10(Math.max(value, low) / low) : (value) => value;
    this.past = [];
    this.paths = ["area", "two", "one"].map((kind) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      return this.svg.appendChild(path);
    });
  }

  gap() {
    this.add(null);
  }

  /** Add a moment: one or two values, or null for a gap. */
  add(values) {
    this.past.push(values);
    if (this.past.length > MOMENTS) this.past.shift();
    const top = this.past.reduce((most, moment) => Math.max(most, ...(moment || [])), this.low * 10 || 1);
    const height = this.scale(top) * 1.12;
    const line = (place, end) => {
      let path = "";
      let last = null;
      this.past.forEach((moment, index) => {
        const x = 240 - ((this.past.length - 1 - index) * 240) / (MOMENTS - 1);
        if (moment === null || moment[place] === undefined) {
          if (last !== null && end) path += `L${last.toFixed(1)} 60Z`;
          last = null;
          return;
        }
        const y = 59 - (58 * this.scale(moment[place])) / height;
        if (last === null) path += end ? `M${x.toFixed(1)} 60L` : "M";
        else path += "L";
        path += `${x.toFixed(1)} ${y.toFixed(1)}`;
        last = x;
      });
      return last !== null && end ? `${path}L${last.toFixed(1)} 60Z` : path;
    };
    this.paths[0].setAttribute("d", line(0, true));
    this.paths[1].setAttribute("d", line(1, false));
    this.paths[2].setAttribute("d", line(0, false));
    say(this.label, `highest ${this.words(top)}`);
    if (values) this.svg.setAttribute("aria-label", `now ${values.map(this.words).join(" and ")}, highest ${this.words(top)}`);
  }
}

const charts = [
  new Chart("messages-chart", number, {}),
  new Chart("bytes-chart", size, {}),
  new Chart("delay-chart", delay, { low: 1e-5, log: true }), // a thousand times slower is three times higher
];

// The tree: a row for each actor that is open; one of them takes the keys

const tree = $("tree");
const rows = new Map(); // elements, by key
const STATES = {
  waiting: ["idle", "waiting for a message"], looking: ["idle", "looking for a certain message"],
  new: ["busy", "new, about to start"], runnable: ["busy", "has messages to handle"], running: ["busy", "running"],
  awaiting: ["held", "awaiting a result; messages wait meanwhile"], resumable: ["busy", "its result has come"],
  doomed: ["off", "about to end"], restarting: ["off", "waiting for its restart"], "not running": ["off", "not running"],
  gone: ["off", "has ended"], more: ["more", ""],
};
let focus = null; // key of the row that Tab comes to

function makeRow(key) {
  const row = make("div", "tree-row");
  row.setAttribute("role", "treeitem");
  row.tabIndex = -1;
  const who = make("span", "who");
  const twist = make("button", "twist");
  twist.tabIndex = -1;
  twist.setAttribute("aria-hidden", "true");
  who.append(twist, make("i", "dot"), make("b"), make("small"), make("span", "count"));
  const mailbox = make("span", "mailbox");
  mailbox.append(make("i"), make("span"));
  row.append(who, mailbox, make("span", "handled"), make("span", "restarts"));
  row.key = key;
  rows.set(key, row);
  return row;
}

function showTree(list) {
  const keys = new Set(list.map((entry) => entry[0]));
  const hadFocus = tree.contains(document.activeElement);
  let place = rows.has(focus) ? [...tree.children].indexOf(rows.get(focus)) : 0;
  for (const [key, row] of rows) {
    if (!keys.has(key)) {
      row.remove();
      rows.delete(key);
    }
  }
  list.forEach((entry, index) => {
    const row = rows.get(entry[0]) || makeRow(entry[0]);
    fillRow(row, entry);
    if (tree.children[index] !== row) tree.insertBefore(row, tree.children[index] || null);
  });
  if (!rows.has(focus)) {
    place = Math.max(0, Math.min(place, list.length - 1));
    moveFocus(tree.children[place], false);
  }
  if (hadFocus && !tree.contains(document.activeElement) && rows.has(focus)) rows.get(focus).focus();
}

function fillRow(row, entry) {
  const [, level, place, siblings, name, kind, actor, state, unread, handled, restarts, children, isOpen] = entry;
  const [twist, dot, title, detail, count] = row.firstChild.children;
  const [, mailbox, work, again] = row.children;
  const [look, meaning] = STATES[state] || ["busy", state];
  row.style.setProperty("--level", level);
  for (const [attribute, value] of [["level", level], ["posinset", place], ["setsize", siblings]])
    row.setAttribute(`aria-${attribute}`, value);
  if (children || state === "more") row.setAttribute("aria-expanded", isOpen);
  else row.removeAttribute("aria-expanded");
  row.setAttribute("aria-selected", row.key === view.actor);
  row.setAttribute("aria-label", state === "more" ? name : `${name}, ${meaning}, mailbox ${unread}, handled ${handled}, restarts ${restarts}`);
  dot.className = `dot ${look}`;
  dot.title = meaning;
  twist.title = isOpen ? "shut" : "open";
  say(title, state === "more" ? `… ${name}` : name);
  say(detail, kind === name ? "" : kind);
  say(count, state !== "more" && children > 1 && !isOpen ? number(children) : "");
  mailbox.firstChild.style.setProperty("--unread", unread);
  say(mailbox.lastChild, state === "more" ? "" : number(unread));
  mailbox.classList.toggle("zero", !unread);
  say(work, state === "more" ? "" : number(handled));
  say(again, state === "more" ? "" : number(restarts));
  again.className = restarts ? "restarts" : "restarts zero";
  const beats = row.actor === actor && row.handled !== undefined && row.handled !== handled;
  row.classList.remove("beats");
  if (beats) requestAnimationFrame(() => row.classList.add("beats"));
  if (row.restarts !== undefined && restarts > row.restarts) {
    row.classList.remove("fresh");
    requestAnimationFrame(() => row.classList.add("fresh"));
  }
  Object.assign(row, { actor, handled, restarts, state, level });
}

function moveFocus(row, take = true) {
  if (!row) return;
  if (rows.has(focus)) rows.get(focus).tabIndex = -1;
  focus = row.key;
  row.tabIndex = 0;
  if (take) row.focus();
}

function turn(row, opens) {
  view.open.delete(row.key);
  view.shut.delete(row.key);
  (opens ? view.open : view.shut).add(row.key);
  changed();
}

function choose(key) {
  view.actor = key;
  for (const row of document.querySelectorAll("[aria-selected]")) row.setAttribute("aria-selected", row.key === key);
  changed();
}

function act(row) {
  if (row.state === "more") turn(row, true);
  else choose(row.key);
}

tree.addEventListener("click", (event) => {
  const row = event.target.closest(".tree-row");
  if (!row) return;
  moveFocus(row);
  if (event.target.closest(".twist")) turn(row, row.getAttribute("aria-expanded") !== "true");
  else act(row);
});

tree.addEventListener("dblclick", (event) => {
  const row = event.target.closest(".tree-row[aria-expanded]");
  if (row && !event.target.closest(".twist")) turn(row, row.getAttribute("aria-expanded") !== "true");
});

tree.addEventListener("keydown", (event) => {
  const row = event.target.closest(".tree-row");
  if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
  const next = row.nextElementSibling;
  const open = row.getAttribute("aria-expanded");
  let above = row.previousElementSibling;
  switch (event.key) {
    case "ArrowDown": moveFocus(next); break;
    case "ArrowUp": moveFocus(above); break;
    case "Home": moveFocus(tree.firstElementChild); break;
    case "End": moveFocus(tree.lastElementChild); break;
    case "ArrowRight":
      if (open === "false") turn(row, true);
      else if (open === "true" && next && next.level > row.level) moveFocus(next);
      break;
    case "ArrowLeft":
      if (open === "true") turn(row, false);
      else {
        while (above && above.level >= row.level) above = above.previousElementSibling;
        moveFocus(above);
      }
      break;
    case "Enter": case " ": act(row); break;
    default: return;
  }
  event.preventDefault();
});

// The connections

const viewport = $("viewport");
const grid = $("rows");
const bench = []; // row elements, used again for whoever is on the screen

function showConnections({ all, found, first, rows: list }) {
  say($("found"), view.search ? `${number(found)} of ${number(all)}` : number(all));
  grid.style.height = `${found * ROW}px`;
  grid.setAttribute("aria-rowcount", found);
  while (bench.length < list.length) {
    const row = make("div", "connection-row");
    row.setAttribute("role", "row");
    for (let cell = 0; cell < 6; cell++) row.append(make("span")), row.lastChild.setAttribute("role", "gridcell");
    bench.push(grid.appendChild(row));
  }
  while (bench.length > list.length) bench.pop().remove();
  bench.forEach((row, index) => {
    const [actor, kind, peer, born, came, went, rate] = list[index];
    row.key = `a${actor}`;
    row.born = born;
    row.style.top = `${(first + index) * ROW}px`;
    row.tabIndex = index ? -1 : 0;
    row.setAttribute("aria-rowindex", first + index + 1);
    row.setAttribute("aria-selected", row.key === view.actor);
    [peer, `${kind} ${actor}`, size(came), size(went), rate ? `${size(rate)}/s` : "–"].forEach((text, cell) => say(row.children[cell], text));
  });
}

function fit() {
  const first = Math.max(0, Math.floor(viewport.scrollTop / ROW) - SPARE);
  const count = Math.ceil(viewport.clientHeight / ROW) + 2 * SPARE;
  if (first === view.first && count === view.rows) return;
  Object.assign(view, { first, rows: count });
  changed(100);
}

viewport.addEventListener("scroll", fit);
addEventListener("resize", fit);

grid.addEventListener("click", (event) => {
  const row = event.target.closest(".connection-row");
  if (row) choose(row.key);
});

grid.addEventListener("keydown", (event) => {
  const row = event.target.closest(".connection-row");
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (next) next.focus();
  else if (event.key === "Enter" || event.key === " ") choose(row.key);
  else if (next === undefined) return;
  event.preventDefault();
});

$("search").addEventListener("input", () => {
  view.search = $("search").value;
  view.first = viewport.scrollTop = 0;
  changed(150);
});

$("order").addEventListener("change", () => {
  view.order = $("order").value;
  view.first = viewport.scrollTop = 0;
  changed();
});

document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  $("search").focus();
});

// One actor

const fields = new Map(); // name -> [dt, dd, what it shows]

function field(name, value, fill) {
  const what = JSON.stringify(value);
  let [title, place, shown] = fields.get(name) || [];
  if (value === undefined || value === null || value.length === 0) {
    title?.remove();
    place?.remove();
    fields.delete(name);
    return;
  }
  if (!title) $("fields").append((title = make("dt", "", name)), (place = make("dd")));
  if (what !== shown) fill ? fill(place, value) : say(place, String(value));
  fields.set(name, [title, place, what]);
}

function others(place, [list, count]) {
  place.replaceChildren(...list.map(([actor, name]) => link(name, `a${actor}`)));
  if (count > list.length) place.append(make("span", "", `and ${number(count - list.length)} more`));
}

function link(text, key) {
  const button = make("button", "", text);
  button.type = "button";
  button.addEventListener("click", () => choose(key));
  return button;
}

function showDetails(actor) {
  $("details-hint").hidden = actor !== null;
  say($("details-title"), actor === null ? "An actor" : actor.name || `Actor ${actor.number ?? ""}`);
  const known = actor || {};
  const count = (list, all) => (list && list.length ? [list, all ?? list.length] : null);
  field("state", known.state && (STATES[known.state]?.[1] ?? known.state));
  field("address", known.address);
  field("class", known.kind);
  field("name", known.registered);
  field("peer", known.peer);
  field("mailbox", known.mailbox === undefined ? null : number(known.mailbox));
  field("handled", known.handled === undefined ? null : number(known.handled));
  field("restarts", known.restarts === undefined ? null : number(known.restarts));
  field("bytes in, out", known.peer && `${size(known.bytes_in)}, ${size(known.bytes_out)}`);
  field("age", known.born === undefined || known.born === null ? null : [known.born], (place, [born]) => (place.born = born));
  field("spawned by", count(known.parent), others);
  field("links", count(known.links, known.link_count), others);
  field("monitors", count(known.monitors, known.monitor_count), others);
  $("crash").hidden = !known.crash;
  if (!known.crash) return;
  say($("crash").firstElementChild, `last crash: ${known.crash[0]}`);
  say($("crash").lastElementChild, known.crash[1]);
}

// What happened

let lastEvent = 0;

function showEvents(list) {
  for (const [serial, time, kind, text, actor] of list) {
    if (serial <= lastEvent) continue;
    lastEvent = serial;
    const entry = make("li");
    const when = new Date(Date.now() - (system.time - time) * 1000);
    const stays = actor !== null && kind !== "closed";
    const words = stays ? link(text, `a${actor}`) : make("span", "", text);
    words.classList.add("text", kind);
    entry.append(make("time", "", when.toLocaleTimeString("en-GB")), make("span", `kind ${kind}`, kind), words);
    $("events").prepend(entry);
  }
  while ($("events").children.length > KEPT) $("events").lastChild.remove();
}

function passTime() {
  for (const row of bench) say(row.children[5], briefly(system.time - row.born));
  const place = fields.get("age")?.[1];
  if (place) say(place, age(system.time - place.born));
}

fit();
connect();
