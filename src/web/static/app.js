// Keeps a page up to date while something on it is unfinished. Everything can be read without it.

const EVERY = 2000;
/** Pause before a stream that the server has refused is asked for again. */
const REOPEN = 5000;

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

  const address = new URL(log.dataset.stream, location.href);
  const connect = () => {
    const source = new EventSource(address);
    source.addEventListener("lines", (event) => {
      const told = JSON.parse(event.data);
      address.searchParams.set("after", event.lastEventId);
      apply(told.ops);
      unfinished.innerHTML = told.unfinished === null ? "" : `<span class="l"><a></a><code>${told.unfinished}</code></span>`;
      toEnd();
    });
    source.addEventListener("series", (event) => {
      const series = document.getElementById("series");
      const isOpen = series.querySelector("details")?.open ?? false;
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
    // The browser reopens a stream that broke, but not one that was refused because there were too many.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, REOPEN);
    });
  };
  connect();
  // A fold that the reader has opened or shut by hand stays so.
  log.addEventListener("click", (event) => {
    const fold = event.target.closest("summary")?.parentElement;
    if (fold) fold.dataset.kept = "yes";
  });
}

/** What buttons do, by the attribute that holds their address. */
const ACTIONS = {
  cancel: {
    verb: "Cancel",
    told: "Jobs that run are stopped. Others never begin.",
    menu: `<button value="no" formnovalidate>Keep it</button><button class="danger" value="yes">Cancel it</button>`,
  },
  restart: {
    verb: "Restart",
    told: "The present result stays as an earlier run.",
    menu: `<button value="no" formnovalidate>Leave it</button><button value="yes">Restart it</button>`,
  },
  approve: {
    verb: "Approve",
    told: "The jobs of this commit run on your machines. A later commit needs its own approval.",
    menu: `<button value="no" formnovalidate>Not yet</button><button value="yes">Approve it</button>`,
  },
  publish: {
    verb: "Publish",
    told: "You approve it: the weights go to the places that the page names.",
    menu: `<button value="no" formnovalidate>Not yet</button><button value="yes">Approve it</button>`,
  },
  reject: {
    verb: "Reject",
    told: "Nothing is published. The weights stay here.",
    menu: `<button value="no" formnovalidate>Leave it</button><button class="danger" value="yes">Reject it</button>`,
  },
  republish: {
    verb: "Publish",
    told: "What has failed is tried again. Nothing is trained again.",
    menu: `<button value="no" formnovalidate>Leave it</button><button value="yes">Publish it</button>`,
  },
  replay: {
    verb: "Replay",
    told: "It is worked on again, as if it had just come.",
    menu: `<button value="no" formnovalidate>Leave it</button><button value="yes">Replay it</button>`,
  },
  read: {
    verb: "Show",
    told: "Bodies can name private repositories.",
    menu: `<button value="no" formnovalidate>Leave it</button><button value="yes">Show it</button>`,
  },
};

/** Shows the body of a delivery in place of its button. */
function show(button, answer) {
  const payload = document.getElementById("payload");
  payload.textContent = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body, null, 2);
  payload.hidden = false;
  button.hidden = true;
  payload.focus();
}

/** Text of the session of a person who is logged in. */
const csrf = document.querySelector("meta[name=csrf]")?.content;

/** Asks whether to do what the button is for: a person who is logged in, or whoever has a token. */
function ask(button, action) {
  const { verb, told, menu } = ACTIONS[action];
  const dialog = document.createElement("dialog");
  dialog.innerHTML = `<form method="dialog"><h2></h2>
    <p class="dim">${told}</p>
    ${csrf ? "" : `<label>Your token<input type="password" name="token" autocomplete="off" required></label>`}
    <output></output>
    <menu>${menu}</menu></form>`;
  dialog.querySelector("h2").textContent = `${verb} ${button.dataset.what}?`;
  const [token, output] = [dialog.querySelector("input"), dialog.querySelector("output")];
  if (token) token.value = sessionStorage.getItem("token") ?? "";
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    if (event.submitter.value === "no") return;
    event.preventDefault();
    try {
      const headers = csrf ? { "x-csrf-token": csrf } : { authorization: `Bearer ${token.value}` };
      const method = action === "read" ? "GET" : "POST";
      const answer = await fetch(button.dataset[action], { method, headers });
      if (!answer.ok) {
        output.textContent = (await answer.json()).error;
        return;
      }
      if (token) sessionStorage.setItem("token", token.value);
      dialog.close();
      // A page of something that had ended has no stream and is not refreshed.
      if (action === "restart" || action === "replay" || action === "republish") location.reload();
      else if (action === "read") show(button, await answer.json());
      else refresh();
    } catch {
      output.textContent = "The server is not reachable. Try again in a moment.";
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.documentElement.classList.add("js");
document.addEventListener("click", (event) => {
  for (const action of Object.keys(ACTIONS)) {
    const button = event.target.closest(`[data-${action}]`);
    if (button) ask(button, action);
  }
});
const log = document.querySelector("[data-stream]");
if (log) follow(log);
setInterval(refresh, EVERY);
document.getElementById("branch")?.addEventListener("change", (event) => event.target.form.requestSubmit());
