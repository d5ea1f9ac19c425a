// The waterfall's zoom, filter and keys. Without it the page is whole: only these are missing.
// It listens on the document, so rows may be replaced while it runs: dispatch "replaced" on the
// element with class "waterfall" afterwards. Filter, zoom and what is open are kept.
(() => {
  "use strict";
  const all = (from, what) => [...from.querySelectorAll(what)];
  const of = (event) => event.target.closest?.(".waterfall");
  const states = new WeakMap();
  const state = (w) => {
    if (!states.has(w)) states.set(w, { zoom: 1, left: 0, toggled: new Map() });
    return states.get(w);
  };
  const label = (ms) => {
    const s = Math.abs(ms) / 1000, sign = ms < 0 ? "-" : "", two = (n) => String(n).padStart(2, "0");
    if (s < 60) return sign + (s < 1 ? Math.round(s * 1000) + " ms" : +s.toFixed(2) + " s");
    const m = Math.floor(s / 60);
    return sign + (m < 60 ? m + "m" + two(Math.floor(s % 60)) + "s" : Math.floor(m / 60) + "h" + two(m % 60) + "m");
  };

  // ── zoom: a wider line of time in a box that scrolls ──
  const zoom = (w, factor, at) => {
    const s = state(w), rows = w.querySelector(".rows"), axis = w.querySelector(".axis");
    const width = () => axis.querySelector("svg").getBoundingClientRect().width, room = width() / s.zoom;
    const middle = at ?? (rows.scrollLeft + room / 2) / width();
    s.zoom = Math.min(Math.max(factor, 1), 500);
    w.style.setProperty("--zoom", s.zoom);
    rows.scrollLeft = s.left = middle * width() - room / 2;
    axis.scrollLeft = rows.scrollLeft;
  };
  document.addEventListener("scroll", (event) => {
    if (!event.target.classList?.contains("rows")) return;
    const w = of(event);
    w.querySelector(".axis").scrollLeft = state(w).left = event.target.scrollLeft;
  }, true);

  // ── filter ──
  const filter = (w) => {
    const words = w.querySelector("[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const show = w.querySelector("[name=show]:checked").value;
    const says = (row) => {
      const name = row.querySelector("b").textContent.toLowerCase();
      return words.every((word) => name.includes(word));
    };
    let found = 0;
    for (const job of all(w, ".job")) {
      const kind = !show || job.classList.contains(show), whole = says(job);
      let inside = 0;
      for (const step of all(job, ".s")) {
        step.hidden = !(whole || says(step)) || (show === "error" && !step.classList.contains("error"));
        inside += !step.hidden;
      }
      job.hidden = !kind || !(whole || inside);
      if (!job.hidden && inside && (words.length || show === "error")) job.open = true;
      found += !job.hidden;
    }
    for (const stage of all(w, ".stage")) stage.hidden = !stage.querySelector(".job:not([hidden])");
    for (const row of all(w, ".aside")) found += !(row.hidden = show !== "" || !says(row));
    w.querySelector(".none").hidden = found > 0 || !(words.length || show);
  };
  document.addEventListener("input", (event) => of(event) && filter(of(event)));

  // ── buttons and keys ──
  const open = (w, yes) => all(w, ".job:not([hidden])").forEach((job) => { job.open = yes; });
  const act = {
    in: (w) => zoom(w, state(w).zoom * 2),
    out: (w) => zoom(w, state(w).zoom / 2),
    whole: (w) => zoom(w, 1),
    open: (w) => open(w, true),
    close: (w) => open(w, false),
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-do]");
    if (button && of(event)) act[button.dataset.do](of(event));
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, textarea, select");
    const w = of(event) ?? document.querySelector(".waterfall");
    if (!w || event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing) {
      if (event.key === "Escape" && of(event)) { event.target.value = ""; filter(w); }
      return;
    }
    const key = { "+": "in", "-": "out", 0: "whole" }[event.key];
    if (key) act[key](w);
    else if (event.key === "/") w.querySelector("[type=search]").focus();
    else if (/^Arrow/.test(event.key) && event.target.matches(".waterfall summary.row")) walk(w, event);
    else return;
    event.preventDefault();
  });
  const walk = (w, event) => {
    const rows = all(w, "summary.row").filter((row) => row.checkVisibility());
    const at = rows.indexOf(event.target), here = event.target.parentElement;
    const go = { ArrowDown: rows[at + 1], ArrowUp: rows[at - 1] }[event.key];
    if (go) go.focus();
    else if (event.key === "ArrowRight") here.open = true;
    else if (event.key === "ArrowLeft") here.open = false;
  };

  // ── the time under the pointer; a stretch of the axis that is drawn over is zoomed to ──
  const svg = (name, parent) => parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
  let drag = null;
  document.addEventListener("pointermove", (event) => {
    const w = of(event);
    if (!w) return;
    const axis = w.querySelector(".axis svg"), box = axis.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const mark = axis.querySelector(".cursor") ?? svg("g", axis);
    if (!mark.firstChild) { mark.classList.add("cursor"); svg("line", mark); svg("text", mark); }
    mark.style.display = share < 0 || share > 1 ? "none" : "";
    const [line, text] = mark.children, x = share * 100 + "%";
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", "100%"]]) line.setAttribute(name, value);
    text.setAttribute("x", x);
    text.textContent = label(+w.dataset.start + share * w.dataset.span);
    if (drag) {
      drag.rect.setAttribute("x", Math.min(drag.from, share) * 100 + "%");
      drag.rect.setAttribute("width", Math.abs(share - drag.from) * 100 + "%");
      drag.to = share;
    }
  });
  document.addEventListener("pointerdown", (event) => {
    const axis = event.target.closest?.(".axis svg");
    if (!axis) return;
    const box = axis.getBoundingClientRect(), from = (event.clientX - box.left) / box.width;
    drag = { w: of(event), from, to: from, rect: svg("rect", axis) };
    drag.rect.classList.add("choice");
    event.preventDefault();
  });
  document.addEventListener("pointerup", () => {
    if (!drag) return;
    const { w, from, to, rect } = drag, size = Math.abs(to - from);
    drag = null;
    rect.remove();
    if (size * state(w).zoom > 0.01) zoom(w, 1 / size, (from + to) / 2);
  });

  // ── what is kept when rows are replaced ──
  document.addEventListener("toggle", (event) => {
    if (event.target.id && of(event)) state(of(event)).toggled.set(event.target.id, event.target.open);
  }, true);
  document.addEventListener("replaced", (event) => {
    const w = of(event), s = state(w);
    for (const [id, yes] of s.toggled) { const part = document.getElementById(id); if (part) part.open = yes; }
    w.querySelector(".rows").scrollLeft = s.left;
    filter(w);
  });
  all(document, ".waterfall").forEach((w) => w.classList.add("live"));
})();
