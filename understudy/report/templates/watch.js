"use strict";
// Renews the parts of the page that have changed; position, focus and scrolled tables stay as they are.
(() => {
  const EVERY = 2000; // milliseconds
  const controls = document.getElementById("controls"), button = document.getElementById("pause"), fresh = document.getElementById("fresh");
  let paused = false, tag = "";

  const selectorOf = element => {
    if (element.id) return `#${CSS.escape(element.id)}`;
    const name = ["href", "aria-label"].find(name => element.hasAttribute(name));
    return name ? `${element.localName}[${name}="${CSS.escape(element.getAttribute(name))}"]` : element.localName;
  };
  const swap = (old, now) => {
    if (old.innerHTML === now.innerHTML) return;
    const focused = old.contains(document.activeElement) ? selectorOf(document.activeElement) : "";
    const scrolled = [...old.querySelectorAll(".scroll")].map(each => each.scrollLeft);
    old.replaceChildren(...now.childNodes);
    old.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] ?? 0; });
    if (focused) old.querySelector(focused)?.focus({ preventScroll: true });
  };
  const show = text => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const parts = root => [...root.querySelectorAll("[data-part]")];
    const names = root => parts(root).map(part => part.dataset.part).join();
    // What is at the top of the window stays there when something above it grows.
    const atTop = parts(document).find(part => part.getBoundingClientRect().bottom > 0), before = atTop?.getBoundingClientRect().top;
    document.title = page.title;
    const now = parts(page);
    if (names(page) === names(document)) parts(document).forEach((part, index) => swap(part, now[index]));
    else ["header > [data-part=state]", "header > [data-part=links]", "main"].forEach(place => swap(document.querySelector(place), page.querySelector(place)));
    if (scrollY > 0 && atTop?.isConnected) scrollBy({ top: atTop.getBoundingClientRect().top - before, behavior: "instant" });
  };
  const renew = async () => {
    if (!paused && !document.hidden) {
      try {
        const answer = await fetch(location.pathname, { cache: "no-cache" });
        const text = await answer.text();
        if (!answer.ok) throw new Error(text);
        if (answer.headers.get("etag") !== tag) show(text);
        tag = answer.headers.get("etag");
        fresh.textContent = "";
      } catch {
        fresh.textContent = "understudy watch does not answer; this page tries again every two seconds.";
      }
    }
    setTimeout(renew, EVERY);
  };
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    fresh.textContent = paused ? "Updates are paused." : "";
  });
  controls.hidden = false;
  setTimeout(renew, EVERY);
})();
