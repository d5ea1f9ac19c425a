// What the pages do beyond being read: they follow what runs, go on without a reload, obey keys.
// Without it every page is whole and every link works. The server draws; this only takes over.
(() => {
  "use strict";
  const one = (what) => document.querySelector(what);
  const all = (what, from = document) => [...from.querySelectorAll(what)];
  const main = one("main"), button = one("#live"), told = one("#told");

  // ── one tree becomes the other: what stays keeps its focus, scroll, selection and openness ──
  const key = (node) => node.nodeType !== 1 ? "" :
    node.dataset.key || node.id || node.dataset.keep || node.getAttribute("aria-labelledby") || "";
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b) &&
    a.classList?.[0] === b.classList?.[0];
  const mine = (node, name) =>
    name === "style" || name === "aria-selected" || (name === "open" && node.nodeName !== "DIALOG") ||
    (name === "value" && node === document.activeElement) || node.matches(".waterfall");
  const attributes = (old, fresh) => {
    for (const { name, value } of [...fresh.attributes]) {
      if (!mine(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!mine(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    if (old.nodeName === "INPUT" && old.type === "search" && old !== document.activeElement && old.name) {
      old.value = fresh.getAttribute("value") ?? "";
    }
  };
  const become = (old, fresh) => {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    attributes(old, fresh);
    const kept = new Map(all(":scope > *", old).filter(key).map((child) => [key(child), child]));
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const name = key(child), same = name && kept.get(name);
      if (same && same !== at && alike(same, child)) old.insertBefore(same, at);
      else if (!same && !(at && alike(at, child))) {
        old.insertBefore(document.adoptNode(child), at);
        continue;
      }
      const met = same || at;
      at = met.nextSibling;
      become(met, child);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  };

  // ── time goes on between two answers ──
  const two = (n) => String(n).padStart(2, "0");
  const words = (ms) => {
    const s = ms / 1000, m = Math.round(s / 60);
    if (s < 0.9995) return Math.round(ms) + " ms";
    if (s < 59.95) return s.toFixed(1) + " s";
    if (s < 3599.5) return Math.floor(Math.round(s) / 60) + "m" + two(Math.round(s) % 60) + "s";
    return Math.floor(m / 60) + "h" + two(m % 60) + "m";
  };
  const ago = (ms) => {
    const s = Math.max(ms, 0) / 1000;
    for (const [size, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (s >= size) return Math.floor(s / size) + " " + word + " ago";
    }
    return "just now";
  };
  const exact = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "medium" });
  const brief = (ms) => new Intl.DateTimeFormat([], ms < 6e5
    ? { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }
    : ms < 864e5 ? { hour: "2-digit", minute: "2-digit", hour12: false }
    : ms < 2592e5 ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false }
    : { month: "short", day: "numeric" });
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  let skew = 0;
  const tick = () => {
    const now = Date.now() - skew;
    for (const node of all("time[data-ago]")) {
      const at = Date.parse(node.dateTime);
      put(node, ago(now - at));
      const title = exact.format(at);
      if (node.title !== title) node.title = title;
    }
    for (const node of all("[data-since]")) put(node, words(Math.max(now - node.dataset.since, 0)));
    const marks = all("[data-stamp]");
    if (marks.length) {
      const format = brief(marks.at(-1).dataset.stamp - marks[0].dataset.stamp);
      for (const node of marks) put(node, format.format(+node.dataset.stamp));
    }
  };

  // ── the next state of this page, or the page behind a link ──
  let tag = "", asking = null, wait = 0, paused = false, failures = 0;
  const show = (state, text) => {
    if (button.dataset.state === state) return;
    button.dataset.state = state;
    button.setAttribute("aria-pressed", String(state === "live"));
    put(button.lastElementChild, text);
  };
  const take = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    if (!fresh.querySelector("main")) throw new Error("not a page");
    become(main, fresh.querySelector("main"));
    become(one(".top nav"), fresh.querySelector(".top nav"));
    document.title = fresh.title;
    for (const name of ["now", "live"]) document.body.dataset[name] = fresh.body.dataset[name];
    skew = Date.now() - document.body.dataset.now;
    all(".waterfall").forEach((part) => part.dispatchEvent(new Event("replaced", { bubbles: true })));
    tick();
    picks();
    choose(row);
  };
  const ask = async (address, known) => {
    asking?.abort();
    const mine = asking = new AbortController();
    const limit = setTimeout(() => mine.abort(), 15000);
    try {
      const answer = await fetch(address, {
        cache: "no-store", signal: mine.signal, headers: known ? { "If-None-Match": known } : {},
      });
      if (answer.status === 304) return;
      const html = await answer.text();
      if (asking !== mine) return;
      tag = answer.headers.get("ETag") ?? "";
      take(html);
    } finally {
      clearTimeout(limit);
      if (asking === mine) asking = null;
    }
  };
  const poll = async () => {
    clearTimeout(wait);
    const every = +document.body.dataset.live;
    if (!every || paused || document.hidden) return;
    try {
      if (!asking) await ask(location.href, tag);
      if (failures) put(told, "Connected again.");
      failures = 0;
      show("live", "Live");
    } catch (error) {
      if (error.name !== "AbortError" && ++failures === 2) {
        show("lost", "Lost");
        put(told, "The connection is lost; trying again.");
      }
    }
    wait = setTimeout(poll, Math.min(every * 1000 * 2 ** failures, 30000));
  };
  const pause = () => {
    paused = !paused;
    show(paused ? "paused" : "live", paused ? "Paused" : "Live");
    put(told, paused ? "Paused." : "Live.");
    if (!paused) poll();
  };
  button.addEventListener("click", pause);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { tick(); poll(); } });

  const go = async (address, push) => {
    main.setAttribute("aria-busy", "true");
    const same = new URL(address, location.href).pathname === location.pathname;
    try {
      clearTimeout(wait);
      if (push) history.pushState(null, "", address);
      await ask(address, "");
      if (!same) scrollTo(0, 0);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(address);
    } finally {
      main.removeAttribute("aria-busy");
      poll();
    }
  };
  // Only within one page: there the two trees are nearly the same, and scroll and focus worth keeping.
  const near = (address) => address.origin === location.origin && address.pathname === location.pathname &&
    (address.search !== location.search || !address.hash) && /^\/(executions|pipelines)$/.test(address.pathname);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const address = new URL(link.href.baseVal ?? link.href, location.href);
    if (!near(address)) return;
    event.preventDefault();
    go(address.href, true);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-quiet]")) return;
    event.preventDefault();
    const given = new URLSearchParams(new FormData(event.target));
    if (!given.get("q")?.trim()) given.delete("q");
    go(event.target.getAttribute("action") + (String(given) && "?" + given), true);
  });
  let path = location.pathname;
  addEventListener("popstate", () => {
    if (location.pathname === path && !location.hash) go(location.href, false);
    path = location.pathname;
  });

  // ── what was open and how far a box was scrolled outlives a page ──
  const memory = (name, value) => {
    try {
      if (value === undefined) return sessionStorage.getItem("signalbox." + name);
      sessionStorage.setItem("signalbox." + name, value);
    } catch { /* a browser may forbid it */ }
    return null;
  };
  for (const part of all("details[data-keep]")) {
    const known = memory(part.dataset.keep);
    if (known) part.open = known === "open";
  }
  document.addEventListener("toggle", (event) => {
    const name = event.target.dataset?.keep;
    if (name) memory(name, event.target.open ? "open" : "closed");
  }, true);
  const narrow = matchMedia("(max-width: 900px)");
  const box = one("details[data-keep=facets-all]");
  const fold = () => { if (box) box.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();

  // ── rows: chosen by key, picked for a comparison ──
  let row = "";
  const rows = () => all("[data-rows] tbody tr");
  function choose(name, focus) {
    row = name;
    for (const line of rows()) {
      const on = name !== "" && line.dataset.key === name;
      if (on) line.setAttribute("aria-selected", "true"); else line.removeAttribute("aria-selected");
      if (on && focus) {
        line.querySelector(".called a").focus({ preventScroll: true });
        line.scrollIntoView({ block: "nearest" });
      }
    }
  }
  // Where there is no list, the rows of a waterfall, a log, the events.
  const stops = () => all(".waterfall summary.row, .log summary, .raws summary").filter((stop) => stop.checkVisibility());
  const step = (by) => {
    if (!one("[data-rows]")) {
      const list = stops(), at = list.indexOf(document.activeElement);
      list[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by, 0), list.length - 1)]?.focus();
      return;
    }
    const lines = rows(), here = document.activeElement?.closest?.("[data-rows] tr")?.dataset.key ?? row;
    const at = lines.findIndex((line) => line.dataset.key === here);
    const next = lines[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : lines.length - 1) : at + by, 0), lines.length - 1)];
    if (next) choose(next.dataset.key, true);
  };
  document.addEventListener("focusin", (event) => {
    const line = event.target.closest?.("[data-rows] tbody tr");
    if (line && line.dataset.key !== row) choose(line.dataset.key);
  });
  function picks() {
    const picked = all("[data-pick]:checked").map((box) => box.dataset.pick), link = one("#compare");
    if (!link) return;
    link.hidden = picked.length === 0;
    const ready = picked.length === 2;
    link.toggleAttribute("aria-disabled", !ready);
    // The older one is what the newer one is held against.
    if (ready) link.href = "/compare?" + new URLSearchParams({ base: picked[1], with: picked[0] });
    else link.removeAttribute("href");
    put(link, ready ? "Compare the two" : picked.length + " picked; two can be compared");
  }
  document.addEventListener("change", (event) => { if (event.target.matches("[data-pick]")) picks(); });

  // ── keys ──
  const help = one("#help");
  one("#keys").addEventListener("click", () => help.showModal());
  let before = "";
  const keys = {
    "?": () => help.showModal(),
    p: pause,
    j: () => step(1),
    k: () => step(-1),
    x: () => {
      const box = rows().find((line) => line.dataset.key === row)?.querySelector("[data-pick]");
      if (box) { box.checked = !box.checked; picks(); }
    },
    c: () => { const link = one("#compare[href]") ?? one("[data-compare]"); if (link && !link.hidden) link.click(); },
    "/": () => one("[data-search]")?.select(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || help.open) return;
    if (event.target.matches?.("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const place = before === "g" && { p: "/pipelines", e: "/executions" }[event.key];
    before = event.key;
    if (place) location.assign(place);
    else if (keys[event.key] && !(event.key === "/" && !one("[data-search]"))) keys[event.key]();
    else return;
    before = "";
    event.preventDefault();
  });

  // ── a part of an execution that the address names: shown, and marked ──
  const part = one("[data-part]")?.dataset.part;
  const at = part && (document.getElementById(part) ?? document.getElementById(part.replace(/s\d+$/, "")));
  if (at) {
    for (let node = at; node; node = node.parentElement) if (node.nodeName === "DETAILS") node.open = true;
    const line = at.querySelector(".row") ?? at;
    line.classList.add("here");
    line.scrollIntoView({ block: "center" });
  }

  skew = Date.now() - document.body.dataset.now;
  tick();
  picks();
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
  wait = setTimeout(poll, 1000);
})();
