// Keeps a page up to date while something on it is unfinished. Everything can be read without it.

const EVERY = 2000;

/** Takes the parts marked data-live from a fresh copy of this page. */
async function refresh() {
  if (document.hidden || !document.querySelector("[data-unfinished]")) return;
  const url = new URL(location.href);
  const part = document.querySelector("[data-part]");
  if (part) url.searchParams.set("part", part.dataset.part);
  try {
    const answer = await fetch(url, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now) continue;
      old.toggleAttribute("data-unfinished", now.hasAttribute("data-unfinished"));
      if (old.innerHTML !== now.innerHTML) replace(old, now);
    }
  } catch {
    // The server is away for a moment; the next round tries again.
  }
}

/** Puts new content in, and the focus back on the link that had it. */
function replace(old, now) {
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  old.replaceChildren(...now.childNodes);
  if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

/** Appends what the stream tells to the log. */
function follow(log) {
  const unfinished = document.createElement("div");
  unfinished.className = "unfinished";
  const open = () => [...log.querySelectorAll("details[data-running]")].at(-1);
  let into = open() ?? log;
  log.append(unfinished);

  const toggle = document.getElementById("follow");
  const live = document.querySelector(".live");
  toggle.closest("label").hidden = false;
  live.hidden = false;
  const toEnd = () => toggle.checked && window.scrollTo({ top: document.documentElement.scrollHeight });
  toggle.addEventListener("change", toEnd);
  // Whoever scrolls up wants to read there.
  addEventListener("wheel", (event) => { if (event.deltaY < 0) toggle.checked = false; }, { passive: true });

  const steps = {
    l: (html) => insert(into, html),
    o: (html) => { insert(into, html); into = open() ?? into; },
    c: () => {
      if (into === log) return;
      into.removeAttribute("data-running");
      if (!into.dataset.kept) into.open = false;
      into = into.parentElement;
    },
    t: (line, text) => { const cell = document.querySelector(`#L${line} > i`); if (cell) cell.textContent = text; },
  };
  const insert = (where, html) =>
    where === log ? unfinished.insertAdjacentHTML("beforebegin", html) : where.insertAdjacentHTML("beforeend", html);
  const apply = (ops) => { for (const [step, ...rest] of ops ?? []) steps[step]?.(...rest); };

  const source = new EventSource(log.dataset.stream);
  source.addEventListener("lines", (event) => {
    const told = JSON.parse(event.data);
    apply(told.ops);
    unfinished.innerHTML = told.unfinished === null ? "" : `<span class="l"><a></a><code>${told.unfinished}</code></span>`;
    toEnd();
  });
  source.addEventListener("series", (event) => {
    const series = document.getElementById("series");
    const isOpen = series.querySelector("details")?.open;
    series.innerHTML = JSON.parse(event.data).html;
    series.querySelector("details")?.toggleAttribute("open", isOpen);
    toEnd();
  });
  source.addEventListener("restart", () => {
    document.getElementById("series").replaceChildren();
    log.replaceChildren(unfinished);
    unfinished.replaceChildren();
    into = log;
  });
  source.addEventListener("end", (event) => {
    source.close();
    unfinished.replaceChildren();
    apply(JSON.parse(event.data).ops);
    live.hidden = true;
    refresh();
    toEnd();
  });
  // A fold that the reader has opened or shut by hand stays so.
  log.addEventListener("click", (event) => {
    const fold = event.target.closest("summary")?.parentElement;
    if (fold) fold.dataset.kept = "yes";
  });
}

const log = document.querySelector("[data-stream]");
if (log) follow(log);
setInterval(refresh, EVERY);
document.getElementById("branch")?.addEventListener("change", (event) => event.target.form.requestSubmit());
