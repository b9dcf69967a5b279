// The page of the API: links open what they lead to, and forms send reads with the login of the browser.

const SHOWN = 100_000;

function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function address(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const input of form.querySelectorAll("input")) {
    if (input.dataset.in === "path") {
      path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
    } else if (input.value) {
      query.set(input.name, input.value);
    }
  }
  return query.size ? `${path}?${query}` : path;
}

function shown(text, type) {
  if (!/json/.test(type)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(form) {
  const output = form.querySelector("output");
  const path = address(form);
  const line = document.createElement("p");
  const body = document.createElement("pre");
  line.textContent = `GET ${path}`;
  output.replaceChildren(line, body);
  try {
    const answer = await fetch(path, { headers: { accept: "application/json" } });
    const text = shown(await answer.text(), answer.headers.get("content-type") ?? "");
    line.textContent = `GET ${path} → ${answer.status} ${answer.statusText}`;
    body.textContent = text.length > SHOWN ? `${text.slice(0, SHOWN)}\n…` : text;
  } catch {
    line.textContent = `GET ${path}: the server does not answer`;
  }
}

for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}
addEventListener("hashchange", open);
open();
