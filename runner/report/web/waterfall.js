// The waterfall's zoom, filter and keys. Without it the page is whole: only these are missing.
// It listens on the document, so rows may be replaced while it runs: dispatch a bubbling "replaced"
// on what holds them afterwards. Zoom, filter and what was opened or closed are kept.
(() => {
  "use strict";
  const on = (name, act, early) => document.addEventListener(name, act, early);
  const all = (from, what) => [...from.querySelectorAll(what)];
  const of = (event) => event.target.closest?.(".waterfall");
  const states = new WeakMap();
  const state = (w) => states.get(w) ?? states.set(w, { zoom: 1, left: 0, toggled: {} }).get(w);
  const percent = (share) => share * 100 + "%";

  const label = (ms) => {
    const s = Math.abs(ms) / 1000, two = (n, unit) => (n = Math.floor(n)) ? String(n).padStart(2, "0") + unit : "";
    const text = s < 1 ? +(s * 1000).toFixed(1) + " ms" : s < 60 ? +s.toFixed(2) + " s"
      : s < 3600 ? Math.floor(s / 60) + "m" + two(s % 60, "s") : Math.floor(s / 3600) + "h" + two(s / 60 % 60, "m");
    return (ms < 0 ? "-" : "") + text;
  };
  const draw = (parent, name, attributes, old) => {
    const part = old ?? parent.appendChild(document.createElementNS(parent.namespaceURI, name));
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    return part;
  };

  // ── zoom: a wider line of time in a box that scrolls, with marks where it is looked at ──
  const zoom = (w, factor, at) => {
    const s = state(w), rows = w.querySelector(".rows"), axis = w.querySelector(".axis svg");
    const width = () => axis.getBoundingClientRect().width, room = width() / s.zoom;
    const middle = at ?? (rows.scrollLeft + room / 2) / width();
    s.zoom = Math.min(Math.max(factor, 1), 500);
    w.style.setProperty("--zoom", s.zoom);
    rows.scrollLeft = middle * width() - room / 2;
    show(w);
  };
  const nice = [1, 10, 100].flatMap((n) => [n, 2 * n, 5 * n])
    .concat([1e3, 6e4].flatMap((n) => [1, 2, 5, 10, 15, 30].map((m) => n * m)), [1, 2, 3, 6, 12, 24, 168].map((n) => n * 36e5));
  const show = (w) => {
    const s = state(w), rows = w.querySelector(".rows"), axis = w.querySelector(".axis svg");
    const box = axis.closest(".axis"), { start, span } = box.dataset;
    box.scrollLeft = s.left = rows.scrollLeft;
    const size = span / s.zoom, from = +start + span * s.left / axis.getBoundingClientRect().width;
    const step = nice.find((n) => size / n <= 10) ?? size;
    for (const svg of [axis, w.querySelector(".lines svg")]) {
      svg.replaceChildren();
      for (let ms = Math.ceil(from / step) * step; ms <= from + size; ms += step) {
        const x = percent((ms - start) / span);
        draw(svg, "line", { x1: x, x2: x, y1: 0, y2: "100%" });
        if (svg === axis && ms + step / 2 < from + size) draw(svg, "text", { x }).textContent = ms ? label(ms) : "0";
      }
    }
  };
  on("scroll", (event) => event.target.matches?.(".rows") && show(of(event)), true);

  // ── filter ──
  const filter = (w) => {
    const words = w.querySelector("[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const show = w.querySelector("[name=show]:checked").value, bad = show === "error";
    const says = (row) => {
      const name = row.querySelector("b").textContent.toLowerCase();
      return words.every((word) => name.includes(word));
    };
    let found = 0;
    for (const job of all(w, ".job")) {
      const whole = says(job), steps = all(job, ".s");
      for (const step of steps) step.hidden = !(whole || says(step)) || (bad && !step.matches(".error"));
      const inside = steps.some((step) => !step.hidden);
      job.hidden = !(whole || inside) || !(!show || job.matches("." + show));
      if (inside && (bad || words.length)) job.open = true;
      found += !job.hidden;
    }
    for (const stage of all(w, ".stage")) stage.hidden = !stage.querySelector(".job:not([hidden])");
    for (const row of all(w, ".aside")) found += !(row.hidden = show || !says(row));
    w.querySelector(".none").hidden = found || !(show || words.length);
  };
  on("input", (event) => of(event) && filter(of(event)));

  // ── buttons and keys ──
  const open = (yes) => (w) => all(w, ".job:not([hidden])").forEach((job) => { job.open = yes; });
  const acts = {
    in: (w) => zoom(w, state(w).zoom * 2),
    out: (w) => zoom(w, state(w).zoom / 2),
    whole: (w) => zoom(w, 1),
    open: open(true),
    close: open(false),
  };
  on("click", (event) => acts[event.target.closest?.(".tools [data-do]")?.dataset.do]?.(of(event)));
  on("keydown", (event) => {
    const { target, key } = event, w = of(event) ?? document.querySelector(".waterfall");
    if (!w || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches("input, textarea, select")) {
      if (key === "Escape" && of(event)) { target.value = ""; filter(w); }
      return;
    }
    const act = { "+": "in", "-": "out", 0: "whole" }[key];
    if (act) acts[act](w);
    else if (key === "/") w.querySelector("[type=search]").focus();
    else if (target.matches("summary.row") && key.startsWith("Arrow")) walk(w, target, key);
    else return;
    event.preventDefault();
  });
  const walk = (w, row, key) => {
    if (key === "ArrowRight" || key === "ArrowLeft") row.parentElement.open = key === "ArrowRight";
    else {
      const rows = all(w, "summary.row").filter((one) => one.checkVisibility());
      rows[rows.indexOf(row) + (key === "ArrowDown" ? 1 : -1)]?.focus();
    }
  };

  // ── the time under the pointer; a stretch drawn on the line of time is zoomed to ──
  const share = (event, axis) => {
    const box = axis.getBoundingClientRect();
    return (event.clientX - box.left) / box.width;
  };
  let drag = null;
  on("pointermove", (event) => {
    const axis = of(event)?.querySelector(".axis svg");
    if (!axis) return;
    const { start, span } = axis.closest(".axis").dataset;
    const at = Math.min(Math.max(share(event, axis), 0), 1), x = percent(at);
    const mark = (name, kind, attributes) =>
      draw(axis, name, { class: kind, ...attributes }, axis.querySelector(name + "." + kind));
    mark("line", "cursor", { x1: x, x2: x, y1: 0, y2: "100%" });
    mark("text", "cursor", { x, "text-anchor": at > 0.9 ? "end" : "start" })
      .textContent = label(+start + at * span);
    if (!drag) return;
    drag.to = at;
    mark("rect", "choice", { x: percent(Math.min(at, drag.from)), width: percent(Math.abs(at - drag.from)) });
  });
  on("pointerdown", (event) => {
    const axis = event.target.closest?.(".axis svg");
    if (!axis) return;
    drag = { w: of(event), from: share(event, axis) };
    event.preventDefault();
  });
  on("pointerup", () => {
    if (!drag) return;
    const { w, from, to = from } = drag, size = Math.abs(to - from);
    drag = null;
    w.querySelector(".choice")?.remove();
    if (size * state(w).zoom > 0.01) zoom(w, 1 / size, (from + to) / 2);
  });

  // ── what is kept when rows are replaced ──
  on("toggle", ({ target }) => {
    const w = target.id && target.closest(".waterfall");
    if (w) state(w).toggled[target.id] = target.open;
  }, true);
  on("replaced", (event) => {
    const w = of(event), s = state(w);
    for (const part of all(w, "details[id]")) part.open = s.toggled[part.id] ?? part.open;
    w.querySelector(".rows").scrollLeft = s.left;
    show(w);
    filter(w);
  });
  all(document, ".waterfall").forEach((w) => w.classList.add("live"));
})();
