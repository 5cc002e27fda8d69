// Shows what the server's stream says. Whatever comes from there is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SPARE = 4; // rows above and below the screen, so that a small scroll shows no gap
const SPAN = 120; // seconds that a chart shows
const KEPT = { ".visit": 30, ":not(.visit)": 100 }; // happenings, as the server does

// What is on the screen: the server sends that and nothing else.
const view = { open: new Set(), shut: new Set(), actor: "", search: "", order: "rate", first: 0, rows: 20, held: "" };

// Words

const whole = new Intl.NumberFormat("en");
const number = (n) => (n == null ? "–" : whole.format(n));

function size(bytes) {
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

const clock = (date) => date.toLocaleTimeString("en-GB");

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
let seen = {}; // the last of each part
let goneSince = null;
let startedAgain = 0;
let lastEvent = 0;

function connect() {
  if (stream) stream.close();
  clearTimeout(retry);
  const query = new URLSearchParams({
    ...view, open: [...view.open].join(), shut: [...view.shut].join(), since: lastEvent,
  });
  stream = new EventSource(`events?${query}`);
  stream.onmessage = (message) => show(JSON.parse(message.data));
  stream.addEventListener("again", connect); // none lasts for ever
  stream.onerror = lost;
}

function lost() {
  stream.close();
  if (!goneSince) for (const chart of charts) chart.add(null);
  goneSince ||= new Date();
  document.body.dataset.link = "gone";
  document.title = `(gone) ${system.name ?? "actors"}`;
  say($("link"), `cut off since ${clock(goneSince)}`);
  clearTimeout(retry);
  retry = setTimeout(connect, 1000);
}

let changing = 0;
function changed(wait = 0) {
  // Not put off by more changes: a key that is held down would show nothing until it is let go.
  changing ||= setTimeout(() => {
    changing = 0;
    connect();
  }, wait);
}

function show(news) {
  clearTimeout(silence);
  // A dead network says nothing at all.
  silence = setTimeout(lost, 10000 + 3000 * system.period);
  if (system.began && news.system && system.began !== news.system.began) return beginAgain(news.system);
  seen = { ...seen, ...news };
  if (news.system) showSystem(news.system);
  // Those that are as they were, too: that nothing was handled since is news.
  showTree(seen.tree);
  showConnections(seen.connections);
  showDetails(seen.actor);
  if (news.events) showEvents(news.events);
}

/** Another server answers. Its actors have the numbers of others that were in the one before. */
function beginAgain({ began, period }) {
  system = { began, period, time: 0 };
  startedAgain = Date.now();
  Object.assign(view, { open: new Set(), shut: new Set(), actor: "", held: "" });
  tree.replaceChildren();
  rows.clear();
  for (const button of document.querySelectorAll("#events button"))
    button.replaceWith(make("span", button.className, button.textContent));
  lastEvent = 0;
  tell(new Date(), "started", "the server, again");
  for (const chart of charts) chart.add(null);
  connect();
}

function showSystem(now) {
  const isNew = now.time !== system.time;
  system = now;
  goneSince = null;
  document.body.dataset.link = "live";
  const isFresh = Date.now() - startedAgain < 10000;
  const draining = `draining; ${number(now.connections)} connection${now.connections === 1 ? "" : "s"}`;
  say($("link"), now.draining ? draining : isFresh ? "live; started again" : "live");
  document.title = `${now.name}: actors`;
  $("others").hidden = !now.has_others;
  const texts = {
    name: now.name, actors: number(now.actors), connected: number(now.connections), waiting: number(now.waiting),
    dead: number(now.dead_letters), up: briefly(now.time - now.started), messages: number(now.messages),
  };
  for (const id in texts) say($(id), texts[id]);
  if (!isNew || now.messages === null) return;
  charts[0].add([now.messages]);
  charts[1].add([now.bytes_in, now.bytes_out]);
  charts[2].add(now.delay);
  for (const [id, words, values] of [["bytes", size, [now.bytes_in, now.bytes_out]], ["delay", delay, now.delay]])
    values?.forEach((value, place) => say($(id).children[place], words(value)));
}

// Charts

class Chart {
  constructor(id, words, low = 0) {
    this.svg = $(id);
    const caption = this.svg.parentNode.firstElementChild;
    this.subject = caption.firstChild.textContent.trim();
    this.label = caption.lastChild;
    this.words = words;
    this.low = low; // 0, or where a logarithmic scale begins
    this.scale = low ? (value) => Math.log10(Math.max(value, low) / low) : (value) => value;
    this.past = []; // [time, values]
    this.svg.after(make("div", "axis"));
    this.paths = ["area", "one", "two"].map((kind) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      return this.svg.appendChild(path);
    });
  }

  /** Add a moment: one or two values, or null for a gap, which is as wide as it lasts. */
  add(values) {
    const now = Date.now();
    this.past.push([now, values]);
    this.past = this.past.filter(([time]) => now - time < (SPAN + 2) * 1000);
    const most = Math.max(0, ...this.past.flatMap(([, moment]) => moment || []));
    const height = this.scale(Math.max(most, this.low * 10 || 1)) * 1.12;
    const line = (place, isArea) => {
      const runs = [[]];
      for (const [time, moment] of this.past) {
        if (moment?.[place] === undefined) {
          runs.push([]);
          continue;
        }
        const x = 240 - ((now - time) * 240) / (SPAN * 1000);
        const y = 59 - (58 * this.scale(moment[place])) / height;
        runs.at(-1).push(`${x.toFixed(1)} ${y.toFixed(1)}`);
      }
      return runs.map((run) => run.length && `M${run.join("L")}${isArea ? `V60H${parseFloat(run[0])}Z` : ""}`).filter(Boolean).join("");
    };
    this.paths.forEach((path, index) => path.setAttribute("d", line(index === 2 ? 1 : 0, !index)));
    const highest = `highest ${this.words(most)}`;
    say(this.label, highest);
    if (values) this.svg.ariaLabel = `${this.subject}: now ${values.map(this.words).join(" and ")}, ${highest}`;
  }
}

const charts = [
  new Chart("messages-chart", number),
  new Chart("bytes-chart", size),
  new Chart("delay-chart", delay, 1e-5), // a thousand times slower is three times higher
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
  row.role = "treeitem";
  row.tabIndex = -1;
  const who = make("span", "who");
  const twist = make("button", "twist");
  twist.tabIndex = -1;
  twist.ariaHidden = true;
  who.append(twist, make("i", "dot"), make("b"), make("span", "count"), make("small"));
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
  const news = ["beats", "fresh"].map((kind) => [kind, [...tree.children].filter((row) => row[kind])]);
  for (const [kind, those] of news) for (const row of those) row.classList.remove(kind);
  void tree.offsetWidth; // an animation begins again only where a layout was without it
  for (const [kind, those] of news) for (const row of those) row.classList.add(kind);
  if (!rows.has(focus)) {
    place = Math.max(0, Math.min(place, list.length - 1));
    moveFocus(tree.children[place], false);
  }
  if (hadFocus && !tree.contains(document.activeElement) && rows.has(focus)) rows.get(focus).focus();
}

function fillRow(row, entry) {
  const [, level, place, siblings, name, kind, actor, state, unread, handled, restarts, children, isOpen] = entry;
  const [twist, dot, title, count, detail] = row.firstChild.children;
  const [, mailbox, work, again] = row.children;
  const [look, meaning] = STATES[state] || ["busy", state];
  const isMore = state === "more";
  follow(row, actor, handled);
  row.fresh = restarts > row.restarts;
  row.style.setProperty("--level", level);
  Object.assign(row, { restarts, state, level, ariaLevel: level, ariaPosInSet: place, ariaSetSize: siblings });
  row.ariaSelected = row.key === view.actor;
  row.ariaExpanded = children || isMore ? isOpen : null;
  const label = `${name}, ${meaning}, mailbox ${unread}, handled ${handled}${aSecond(row)}, restarts ${restarts}`;
  row.ariaLabel = row.title = isMore ? name : label;
  dot.className = `dot ${row.pace && look === "idle" ? "busy" : look}`;
  say(title, isMore ? `… ${name}` : name);
  say(detail, kind === name ? "" : kind);
  say(count, !isMore && children > 1 && !isOpen ? number(children) : "");
  mailbox.firstChild.style.setProperty("--unread", unread);
  const figure = (n) => (isMore ? "" : number(n));
  say(mailbox.lastChild, figure(unread));
  mailbox.classList.toggle("zero", !unread);
  say(work, figure(handled));
  say(again, figure(restarts));
  again.className = restarts ? "restarts" : "restarts zero";
}

/** Keep how many messages a second an actor handled, with what stands for it on the screen. */
function follow(mark, actor, handled) {
  const seconds = system.time - mark.time;
  mark.beats = false;
  if (mark.actor !== actor) mark.pace = 0;
  else if (seconds > 0) {
    mark.beats = handled > mark.handled;
    mark.pace = (handled - mark.handled) / seconds;
  } else return;
  Object.assign(mark, { actor, handled, time: system.time });
}

const aSecond = ({ pace }) => (pace ? ` (${number(pace < 10 ? +pace.toPrecision(1) : Math.round(pace))} a second)` : "");

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

let chooser = null; // the row that was chosen

function choose(key, row = null) {
  view.actor = key;
  chooser = row;
  for (const one of document.querySelectorAll("[aria-selected]")) one.ariaSelected = one.key === key;
  $("details").classList.toggle("chosen", key !== "");
  row?.scrollIntoView({ block: "nearest" }); // the details may come to lie over it
  changed();
}

function close() {
  if ($("details").contains(document.activeElement)) (chooser?.isConnected ? chooser : rows.get(focus)).focus();
  choose("");
}

$("close").addEventListener("click", close);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && view.actor && !$("search").matches(":focus")) close();
});

function act(row) {
  if (row.state === "more") turn(row, true);
  else choose(row.key, row);
}

tree.addEventListener("click", (event) => {
  const row = event.target.closest(".tree-row");
  if (!row) return;
  moveFocus(row);
  if (event.target.closest(".twist")) turn(row, row.ariaExpanded !== "true");
  else act(row);
});

tree.addEventListener("keydown", (event) => {
  const row = event.target.closest(".tree-row");
  if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
  const next = row.nextElementSibling;
  const open = row.ariaExpanded;
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
let isPointedAt = false;
let found = 0;
let at = 0; // place of the row that has, or had, the focus
let pressed = ""; // key of the row that the button went down on

function showConnections({ all, found: count, first, rows: list }) {
  found = count;
  say($("found"), view.search ? `${number(found)} of ${number(all)}` : number(all));
  $("found").ariaLive = view.search ? "polite" : "off"; // else it would tell each one that comes
  $("none").hidden = found;
  say($("none"), all ? "No connection matches." : "Nobody is connected here now.");
  $("grid").hidden = !found;
  grid.style.setProperty("--found", found);
  $("grid").ariaRowCount = found + 1;
  if (view.held) list = inTheirPlaces(list);
  const hadFocus = grid.contains(document.activeElement);
  while (bench.length < list.length) {
    const row = make("div", "connection-row");
    row.role = "row";
    for (let cell = 0; cell < 6; cell++) row.append(make("span")), row.lastChild.role = "gridcell";
    bench.push(grid.appendChild(row));
  }
  while (bench.length > list.length) bench.pop().remove();
  bench.forEach((row, index) => {
    const [actor, kind, peer, born, came, went, rate] = list[index];
    Object.assign(row, { entry: list[index], key: `a${actor}`, place: first + index });
    row.style.setProperty("--place", row.place);
    row.classList.toggle("ended", rate === null);
    row.ariaRowIndex = row.place + 2;
    row.title = peer;
    row.ariaSelected = row.key === view.actor;
    [peer, `${kind} ${actor}`, size(came), size(went), rate ? `${size(rate)}/s` : "–", briefly(system.time - born)].forEach((text, cell) => say(row.children[cell], text));
  });
  at = Math.max(0, Math.min(at, found - 1));
  setStop(hadFocus);
  hold();
}

/** While somebody points at the rows, each stays where it is, also when its connection has ended. */
function inTheirPlaces(list) {
  const news = new Map(list.map((entry) => [entry[0], entry]));
  const stay = bench.map(({ entry }) => news.get(entry[0]) || [...entry.slice(0, 6), null]);
  for (const [number] of stay) news.delete(number);
  return [...stay, ...news.values()].slice(0, view.rows);
}

function hold() {
  // Not rows that were scrolled away, of which one more look came: others belong there.
  const isHeld = bench[0]?.place === view.first && (isPointedAt || viewport.querySelector(":focus-visible"));
  if (Boolean(isHeld) === Boolean(view.held)) return;
  view.held = isHeld ? bench.map((row) => row.entry[0]).join() : "";
  changed();
}

for (const kind of ["pointerenter", "pointerleave"]) {
  viewport.addEventListener(kind, (event) => {
    isPointedAt = kind === "pointerenter" && event.pointerType === "mouse"; // a finger does not stay
    hold();
  });
}

const pixels = (name) => parseFloat(getComputedStyle(viewport).getPropertyValue(name));

function fit() {
  const row = pixels("--row");
  const first = Math.max(0, Math.floor(viewport.scrollTop / row) - SPARE);
  const count = Math.ceil(pixels("max-height") / row) + 2 * SPARE;
  if (first === view.first && count === view.rows) return;
  Object.assign(view, { first, rows: count, held: "" });
  changed(100);
}

viewport.addEventListener("scroll", fit);
addEventListener("resize", fit);

/** Tab comes to one row, or to what holds them while that one is not on the screen. */
function setStop(takes) {
  const row = bench.find((one) => one.place === at) || grid;
  for (const one of [grid, ...bench]) one.tabIndex = one === row ? 0 : -1;
  if (takes && row !== document.activeElement) row.focus({ preventScroll: true });
}

function moveTo(place) {
  at = Math.max(0, Math.min(place, found - 1));
  const row = pixels("--row");
  viewport.scrollTop = Math.min(at * row, Math.max(viewport.scrollTop, (at + 1) * row - viewport.clientHeight));
  setStop(true);
  (bench.find((one) => one.place === at) || viewport).scrollIntoView({ block: "nearest" });
}

grid.addEventListener("focusin", (event) => (at = event.target.place ?? at));

grid.addEventListener("pointerdown", (event) => (pressed = event.target.closest(".connection-row")?.key));
grid.addEventListener("click", (event) => {
  const row = event.target.closest(".connection-row");
  // A look may have put another one there since.
  if (row) choose(event.detail ? pressed : row.key, row);
});

grid.addEventListener("keydown", (event) => {
  const page = Math.floor(viewport.clientHeight / pixels("--row")) - 1;
  switch (event.key) {
    case "ArrowDown": moveTo(at + 1); break;
    case "ArrowUp": moveTo(at - 1); break;
    case "PageDown": moveTo(at + page); break;
    case "PageUp": moveTo(at - page); break;
    case "Home": moveTo(0); break;
    case "End": moveTo(found - 1); break;
    case "Enter": case " ": if (event.target.key) choose(event.target.key, event.target); break;
    default: return;
  }
  event.preventDefault();
});

for (const id of ["search", "order"]) {
  $(id).addEventListener("input", () => {
    view[id] = $(id).value;
    view.first = viewport.scrollTop = at = 0;
    view.held = "";
    changed(150);
  });
}

addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  $("search").focus();
});

// One actor

const fields = new Map(); // name -> [dt, dd, what it shows]
const work = {}; // of the one that is shown

function field(name, value, fill) {
  const what = JSON.stringify(value);
  let [title, place, shown] = fields.get(name) || [];
  if (value == null) {
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
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(...list.map(([actor, name]) => link(name, `a${actor}`)));
  if (count > list.length) place.append(make("span", "", `and ${number(count - list.length)} more`));
  if (hadFocus) $("close").focus();
}

function link(text, key) {
  const button = make("button", "", text);
  button.addEventListener("click", () => choose(key));
  return button;
}

function showDetails(actor) {
  $("details").classList.toggle("chosen", view.actor !== "");
  $("details-hint").hidden = actor !== null;
  $("close").hidden = actor === null;
  say($("details-title"), actor === null ? "An actor" : actor.name || `Actor ${actor.number ?? ""}`);
  const known = actor || {};
  follow(work, known.number, known.handled);
  const own = {
    state: STATES[known.state]?.[1] ?? known.state, address: known.address, class: known.kind, name: known.registered,
    peer: known.peer, mailbox: known.mailbox?.toLocaleString("en"),
    handled: known.handled?.toLocaleString("en").concat(aSecond(work)), restarts: known.restarts?.toLocaleString("en"),
    "bytes in, out": known.peer && `${size(known.bytes_in)}, ${size(known.bytes_out)}`,
    age: known.born == null ? null : age(system.time - known.born),
  };
  for (const name in own) field(name, own[name]);
  const count = (list, all) => (list?.length ? [list, all ?? list.length] : null);
  field("spawned by", count(known.parent), others);
  field("links", count(known.links, known.link_count), others);
  field("monitors", count(known.monitors, known.monitor_count), others);
  $("ties").hidden = !(known.links?.length || known.monitors?.length);
  $("crash").hidden = !known.crash;
  if (!known.crash) return;
  say($("crash").firstElementChild, `last crash: ${known.crash[0]}`);
  say($("crash").lastElementChild, known.crash[1]);
}

// What happened

const events = $("events");

function showEvents(list) {
  for (const [serial, time, kind, text, actor] of list) {
    if (serial <= lastEvent) continue;
    lastEvent = serial;
    tell(new Date(Date.now() - (system.time - time) * 1000), kind, text, kind === "closed" ? null : actor);
  }
  for (const [kinds, most] of Object.entries(KEPT))
    for (const old of [...events.querySelectorAll(`li${kinds}`)].slice(most)) old.remove();
}

function tell(when, kind, text, actor = null) {
  const isVisit = kind === "opened" || kind === "closed";
  const entry = make("li", isVisit ? "visit" : "");
  const words = actor === null ? make("span", "", text) : link(text, `a${actor}`);
  words.classList.add("text", kind);
  entry.append(make("time", "", clock(when)), make("span", `kind ${kind}`, kind), words);
  events.prepend(entry);
}

fit();
connect();
