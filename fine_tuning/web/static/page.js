// The two tabs, and what the server says about the model. Text from the server is only ever shown as text.

import { showExamples } from "./ask.js";
import { followRuns } from "./runs.js";

const SECONDS_BETWEEN_LOOKS = 3;
const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab, focus) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  const name = tab.getAttribute("aria-controls");
  history.replaceState(null, "", name === "ask" ? location.pathname : `#${name}`);
  look();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(tabs[1 - tabs.indexOf(tab)], true);
  });
}

let looking = false;

async function look() {
  if (looking || document.hidden) return;
  looking = true;
  try {
    showState(await (await fetch("state")).json());
    if (!document.getElementById("runs").hidden) followRuns(await (await fetch("runs")).json());
  } catch {
    problem("The page has ended. Start it again in the terminal, then reload this page.");
  } finally {
    looking = false;
  }
}

function showState(state) {
  const { model, workspace, adapter, queue } = state;
  const waiting = queue > 1 ? `, ${queue} requests in the queue` : "";
  document.getElementById("model").textContent = `${model}${adapter ? `, ${adapter}` : ""} in ${workspace}${waiting}`;
  problem(state.problem ?? "");
  showExamples(state.examples);
}

function problem(text) {
  const place = document.getElementById("problem");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

choose(location.hash === "#runs" ? tabs[1] : tabs[0]);
setInterval(look, 1000 * SECONDS_BETWEEN_LOOKS);
document.addEventListener("visibilitychange", look);
