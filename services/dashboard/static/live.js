// Keeps a page of the dashboard fresh: it is read again when the server says that something has changed.

const live = document.getElementById("live");

async function refresh() {
  const chosen = [...document.querySelectorAll("#live input[type=checkbox]:checked")].map((box) => box.value);
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected || !answer.ok) return;
  const read = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
  // Whoever types, selects or holds a button open is not disturbed.
  if (!read || live.contains(document.activeElement)) return;
  live.replaceChildren(...read.childNodes);
  for (const box of live.querySelectorAll("input[type=checkbox]")) box.checked = chosen.includes(box.value);
  watchFragments();
}

function tell(state) {
  const note = document.getElementById("note");
  if (note) note.textContent = state.trouble || state.note || "";
  const meter = document.getElementById("step-meter");
  if (meter && state.jobs) meter.value = (state.done + Math.min(state.fraction || 0, 0.999)) / state.jobs;
}

if (live?.dataset.events) {
  let version = null;
  let source = null;
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(live.dataset.events);
    source.addEventListener("state", (event) => {
      const state = JSON.parse(event.data);
      tell(state);
      if (state.version === undefined) return;
      if (version !== null && version !== state.version) refresh();
      version = state.version;
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
  const answer = await fetch(place.dataset.fragment);
  const read = new DOMParser().parseFromString(await answer.text(), "text/html").body;
  if (answer.ok) place.replaceChildren(...read.childNodes);
  else place.textContent = "This picture cannot be shown.";
  place.classList.remove("waiting");
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
