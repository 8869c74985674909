// Keeps a page of the dashboard fresh: it is read again when the server says that something has changed.

const live = document.getElementById("live");
let version = live?.dataset.version; // of what the page shows
let newest = version; // of what the server told last
let reading = false;

// Whoever types or selects is not disturbed: what has changed is shown when they leave the field.
const busy = () => live.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), select");

// A link, button or box that has the focus keeps it: it is known again by what it is and where it leads.
function sign(element) {
  const form = element.closest("form");
  const target = element.getAttribute("href") ?? element.value ?? "";
  return [element.tagName, target, element.textContent, form?.getAttribute("action") ?? ""].join("|");
}

async function refresh() {
  if (reading || busy()) return;
  reading = true;
  const wanted = newest;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected || !answer.ok) return;
    const read = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!read || busy()) return;
    const chosen = [...live.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value);
    const focused = live.contains(document.activeElement) ? sign(document.activeElement) : null;
    live.replaceChildren(...read.childNodes);
    for (const box of live.querySelectorAll("input[type=checkbox]")) box.checked = chosen.includes(box.value);
    if (focused) [...live.querySelectorAll("a, button, input")].find((one) => sign(one) === focused)?.focus();
    version = wanted; // what was read is at least as new
    watchFragments();
  } catch {
    // No network: the next event or look tries again.
  } finally {
    reading = false;
  }
  if (version !== newest && newest !== wanted) refresh(); // more has changed meanwhile
}

function tell(state) {
  const put = (id, words) => {
    const place = document.getElementById(id);
    if (place && place.textContent !== words) place.textContent = words;
  };
  put("note", state.trouble || state.note || "");
  if (state.where) put("where", state.where);
  const meter = document.getElementById("step-meter");
  if (meter && state.jobs) meter.value = (state.done + Math.min(state.fraction || 0, 0.999)) / state.jobs;
}

if (live?.dataset.events) {
  let source = null;
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(live.dataset.events);
    source.addEventListener("state", (event) => {
      const state = JSON.parse(event.data);
      tell(state);
      if (state.version === undefined) return;
      newest = state.version;
      if (version !== newest) refresh();
    });
  };
  const rest = () => {
    source?.close();
    source = null;
  };
  // A browser opens six connections to a server, over all of its tabs: tabs that nobody sees must not hold them. The
  // first event after a pause tells what has changed meanwhile.
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", listen);
  live.addEventListener("focusout", () => setTimeout(() => version !== newest && refresh()));
  listen();
}
if (live?.dataset.every) setInterval(() => document.hidden || refresh(), 1000 * Number(live.dataset.every));

// Pictures are fetched when they come near the screen.
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) fetchFragment(entry.target);
  },
  { rootMargin: "300px" },
);

async function fetchFragment(place) {
  seen.unobserve(place);
  let words = "";
  try {
    const answer = await fetch(place.dataset.fragment);
    const read = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.ok) place.replaceChildren(...read.body.childNodes);
    else words = read.querySelector("[role=alert]")?.textContent || `Status ${answer.status}.`;
  } catch {
    words = "The server cannot be reached.";
  }
  if (words) failed(place, words);
  place.classList.remove("waiting");
}

// Say why a picture is missing, and offer another try.
function failed(place, words) {
  const said = document.createElement("p");
  said.textContent = `This picture cannot be shown. ${words}`;
  said.setAttribute("role", "alert");
  const again = document.createElement("button");
  again.type = "button";
  again.className = "quiet";
  again.textContent = "Try again";
  again.addEventListener("click", (event) => {
    event.preventDefault(); // the picture may be part of a link
    again.remove();
    place.classList.add("waiting");
    fetchFragment(place);
  });
  place.replaceChildren(said, again);
}

function watchFragments() {
  for (const place of document.querySelectorAll("[data-fragment].waiting")) seen.observe(place);
}
watchFragments();

for (const press of document.querySelectorAll("[data-copy]")) {
  press.addEventListener("click", async () => {
    const field = document.getElementById(press.dataset.copy);
    field.select();
    await navigator.clipboard?.writeText(field.value);
    press.textContent = "Copied";
  });
}
