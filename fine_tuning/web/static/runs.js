// The three steps: verdict, plot and contact sheet of each, and how far the one at work is.

const WORDS = { none: "Not run yet", done: "Finished" };
const STALE = 120; // seconds without a new log, after which a step may have been stopped
const ALT = { plot: "Plot", sheet: "Contact sheet: answers beside their references" };

export function followRuns({ steps }) {
  const list = document.getElementById("steps");
  while (list.children.length < steps.length) {
    list.append(document.getElementById("step").content.cloneNode(true));
  }
  steps.forEach((step, k) => update(list.children[k], step));
}

function update(item, step) {
  const state = step.state;
  const seconds = step["seconds ago"];
  const isStale = state === "at work" && seconds > STALE;
  item.classList.toggle("done", state === "done");
  item.classList.toggle("working", state === "at work" && !isStale);
  set(item.querySelector("h2"), `${step.number}. ${step.name}`);
  set(item.querySelector(".state"), stateOf(state, seconds, isStale));
  const progress = item.querySelector("progress");
  progress.hidden = state !== "at work";
  if (typeof step.share === "number") progress.value = step.share;
  else progress.removeAttribute("value");
  setLines(item.querySelector(".verdict"), step.lines ?? []);
  item.querySelector(".command").hidden = state === "done" || (state === "at work" && !isStale);
  set(item.querySelector(".command span"), state === "none" ? "To run it:" : "If it was stopped, continue it:");
  set(item.querySelector(".command code"), step.command);
  set(item.querySelector(".log"), step.log ? `Every figure is in ${step.log}` : "");
  for (const kind of ["plot", "sheet"]) {
    setPicture(item.querySelector(`.${kind}`), step.pictures?.[kind], `${step.name}: ${ALT[kind]}`);
  }
}

function stateOf(state, seconds, isStale) {
  if (state === "none") return WORDS.none;
  const when = `${ago(seconds)} ago`;
  if (state === "done") return `${WORDS.done} ${when}`;
  return isStale ? `Not finished. Its log is from ${when}` : `At work. Its log is from ${when}`;
}

function ago(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setLines(list, lines) {
  while (list.children.length > lines.length) list.lastElementChild.remove();
  while (list.children.length < lines.length) list.append(document.createElement("li"));
  lines.forEach((line, k) => set(list.children[k], line));
}

function setPicture(place, address, text) {
  if (!address) {
    place.replaceChildren();
    return;
  }
  if (!place.firstElementChild) {
    const link = document.createElement("a");
    link.target = "_blank";
    link.append(document.createElement("img"));
    place.append(link);
  }
  const link = place.firstElementChild;
  if (link.getAttribute("href") === address) return;
  link.href = address;
  link.firstElementChild.src = address;
  link.firstElementChild.alt = text;
}
