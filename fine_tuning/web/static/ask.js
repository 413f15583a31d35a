// Send a request, draw the answer while it is generated, and show the best answers with their checks.
// A picture is only ever shown as an image: a browser runs no script and loads nothing in it.

const $ = (id) => document.getElementById(id);
const FILES = { SVG: "svg", PNG: "png", "draw.io": "drawio", Text: "txt" };

let running = null; // the AbortController of the request that is at work
let pictures = []; // the addresses of the pictures that are shown

function say(text, isBad = false) {
  if ($("status").textContent !== text) $("status").textContent = text; // screen readers read out every change
  $("status").classList.toggle("bad", isBad);
}

function setRunning(controller) {
  running = controller;
  $("stop").hidden = !controller;
  $("ask").setAttribute("aria-busy", String(Boolean(controller)));
}

export function stop() {
  if (!running) return;
  running.abort();
  setRunning(null);
  say("Stopped");
}

async function ask() {
  running?.abort();
  const controller = new AbortController();
  setRunning(controller);
  clear();
  $("examples").open = false;
  say("Sending the request");
  try {
    const response = await fetch("ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question()),
      signal: controller.signal,
    });
    let isDone = false;
    for await (const event of events(response.body)) {
      if (running !== controller) return;
      show(event);
      isDone = event.event === "done" || event.event === "error";
    }
    if (!isDone) say("The page ended before the answer was there", true);
  } catch {
    if (running !== controller) return;
    say("The page has ended. Start it again in the terminal", true);
  }
  if (running === controller) setRunning(null);
}

function question() {
  const samples = $("samples").value;
  return {
    request: $("request").value,
    samples: samples === "" ? null : Number(samples),
    top: Number($("top").value),
    seed: $("seed").valueAsNumber,
    grammar: $("grammar").checked,
  };
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}

function show(event) {
  if (event.event === "waiting") {
    const one = event.before === 1;
    say(event.before ? `Waiting for ${one ? "another request" : `${event.before} other requests`}` : "It is your turn");
  } else if (event.event === "loading") {
    say("Loading the model");
  } else if (event.event === "drawing") {
    showDrawing(event);
  } else if (event.event === "more") {
    const tokens = event.tokens - (event.tokens % 50);
    say(`Generating ${event.answers} more answers to choose from${tokens ? `: ${tokens} tokens each so far` : ""}`);
  } else if (event.event === "error") {
    $("live").hidden = true;
    say(event.problems.map(sentence).join(" "), true);
  } else if (event.event === "done") {
    showAnswers(event);
  }
}

function showDrawing(event) {
  if ($("live").hidden) {
    $("live").hidden = false;
    $("live").scrollIntoView({ block: "nearest" });
  }
  const text = document.querySelector("#live .text");
  const atEnd = text.scrollTop + text.clientHeight > text.scrollHeight - 30;
  text.textContent = event.text;
  if (atEnd) text.scrollTop = text.scrollHeight;
  if (event.svg) {
    const image = document.querySelector("#live img");
    const [left, top, width, height] = event.place.map((share) => `${100 * share}%`);
    Object.assign(image.style, { left, top, width, height });
    image.src = address(event.svg);
    image.alt = `The diagram so far: ${event.shapes} shapes`;
    image.hidden = false;
  }
  const shapes = event.shapes ?? Number(document.querySelector("#live").dataset.shapes ?? 0);
  document.querySelector("#live").dataset.shapes = shapes;
  say(`Drawing: ${shapes} ${shapes === 1 ? "shape" : "shapes"}`);
}

function showAnswers(event) {
  $("live").hidden = true;
  $("answers").replaceChildren(...event.answers.map((answer, k) => card(answer, `answers/${event.key}/${k}`)));
  const from = event.generated > 1 ? `, chosen from ${event.generated} answers` : "";
  say(`Done in ${event.seconds} s${from}.${fewer(event)}`);
  $("notes").textContent = event.notes.map(sentence).join(" ");
  $("notes").hidden = !event.notes.length;
}

function fewer({ answers, asked_for, generated }) {
  if (answers.length >= asked_for) return "";
  return answers.length === 1 ? ` All ${generated} are the same.` : ` Only ${answers.length} of them differ.`;
}

function card(answer, path) {
  const item = $("answer").content.cloneNode(true).firstElementChild;
  item.classList.toggle("flawed", answer.flawed);
  const image = item.querySelector("img");
  image.src = address(answer.svg);
  image.alt = `A diagram of ${answer.shapes} ${answer.shapes === 1 ? "shape" : "shapes"}. Its text is below`;
  item.querySelector(".checks").textContent = sentence(answer.checks);
  item.querySelector(".notes").replaceChildren(...answer.notes.map((note) => element("li", sentence(note))));
  const links = Object.entries(FILES).map(([name, suffix]) => {
    const link = element("a", name);
    link.href = `${path}.${suffix}`;
    link.download = "";
    return link;
  });
  item.querySelector(".files").replaceChildren(element("span", "Download"), ...links);
  item.querySelector("pre").textContent = answer.text;
  const copy = item.querySelector(".copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(answer.text);
    copy.textContent = "Copied";
  });
  return item;
}

function clear() {
  pictures.forEach(URL.revokeObjectURL);
  pictures = [];
  $("answers").replaceChildren();
  $("live").hidden = true;
  delete $("live").dataset.shapes;
  document.querySelector("#live img").hidden = true;
  document.querySelector("#live .text").textContent = "";
}

function address(svg) {
  pictures.push(URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" })));
  return pictures.at(-1);
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!]$/.test(whole) ? whole : `${whole}.`;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

export function showExamples(requests) {
  const list = document.querySelector("#examples ul");
  if (list.children.length === requests.length) return;
  $("examples").hidden = !requests.length;
  list.replaceChildren(
    ...requests.map((request) => {
      const button = element("button", request);
      button.type = "button";
      button.addEventListener("click", () => {
        $("request").value = request;
        ask();
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("request").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
$("stop").addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
});
