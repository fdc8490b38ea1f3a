"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  const panels = () => all(".panel");
  const isReviewed = (panel) => panel.closest(".gallery").dataset.reviewed === "yes";
  let current = null;

  function select(panel) {
    current?.classList.remove("current");
    current = panel;
    current?.classList.add("current");
  }

  function goTo(panel) {
    select(panel);
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "start" });
  }

  function step(by) {
    const list = panels();
    const place = list.indexOf(current);
    const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), list.length - 1);
    if (list[next]) goTo(list[next]);
  }

  // Without this the button to close would get the focus, and the space bar.
  function open(dialog) {
    dialog.showModal();
    dialog.focus();
  }

  const enlarged = one("#enlarged");

  function showOverlays(panel, shown) {
    panel.classList.toggle("raw", !shown);
    one(`#${panel.id} .overlays`)?.setAttribute("aria-pressed", shown);
    const any = panels().some((panel) => !panel.classList.contains("raw"));
    one("#all-overlays")?.setAttribute("aria-pressed", any);
  }

  function flipOverlays() {
    if (!current) return;
    showOverlays(current, current.classList.contains("raw"));
    enlarged.classList.toggle("raw", current.classList.contains("raw"));
  }

  function flipAllOverlays() {
    const shown = one("#all-overlays").getAttribute("aria-pressed") !== "true";
    panels().forEach((panel) => showOverlays(panel, shown));
  }

  function enlarge(picture) {
    const figure = picture.closest("figure");
    const panel = picture.closest(".panel");
    select(panel);
    enlarged.style.setProperty("--aspect", figure.style.getPropertyValue("--aspect"));
    enlarged.classList.toggle("raw", panel.classList.contains("raw"));
    one("#enlarged .stage").replaceChildren(...all("img", picture).map((image) => image.cloneNode()));
    one("#enlarged .caption").textContent = all("img", picture)[0].alt;
    open(enlarged);
  }

  const orderNames = { score: ["worst first", "best first"], name: ["A to Z", "Z to A"] };

  function sortValue(panel, key) {
    if (key === "name") return panel.dataset.name;
    const holder = key === "score" ? panel.dataset.score
      : all(".figures > div", panel).find((figure) => `figure ${figure.dataset.figure}` === key)?.dataset.value;
    return holder === undefined ? null : Number(holder);
  }

  function compare(a, b) {
    return typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  }

  function sort(gallery) {
    const key = gallery.querySelector(".sort-key").value;
    const falling = gallery.classList.contains("falling");
    gallery.querySelector(".sort-order").textContent = (orderNames[key] ?? ["lowest first", "highest first"])[Number(falling)];
    const rows = all(".panel", gallery).map((panel) => ({ panel, value: sortValue(panel, key) }));
    const known = rows.filter((row) => row.value !== null).sort((a, b) => compare(a.value, b.value));
    if (falling) known.reverse();
    const missing = rows.filter((row) => row.value === null);
    gallery.querySelector(".panels").append(...[...known, ...missing].map((row) => row.panel));
  }

  const key = document.body.dataset.key;
  let review = { flags: {}, saved: true };

  // Browsers may refuse storage to files; the flags then last as long as the page.
  function recall() {
    try {
      review = JSON.parse(localStorage.getItem(key)) ?? review;
    } catch { /* Nothing is kept. */ }
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(review));
    } catch { /* Nothing is kept. */ }
  }

  function showFlags() {
    const reviewed = panels().filter(isReviewed);
    reviewed.forEach((panel) => {
      const flag = review.flags[panel.id];
      panel.dataset.flag = flag ?? "";
      all("[data-flag]", panel).forEach((button) => button.setAttribute("aria-pressed", button.dataset.flag === flag));
    });
    const done = reviewed.filter((panel) => review.flags[panel.id]).length;
    const progress = one("#progress");
    if (progress) progress.textContent = `${done} of ${reviewed.length} reviewed`;
    one("#save")?.classList.toggle("unsaved", !review.saved);
  }

  function setFlag(panel, flag) {
    if (!panel || !isReviewed(panel)) return;
    if (flag) review.flags[panel.id] = flag;
    else delete review.flags[panel.id];
    review.saved = false;
    keep();
    showFlags();
  }

  const csvCell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function saveFlags() {
    if (!one("#save")) return;
    const rows = panels().filter((panel) => review.flags[panel.id])
      .map((panel) => [panel.dataset.name, review.flags[panel.id], panel.dataset.score ?? ""]);
    const text = [["image", "flag", "score"], ...rows].map((row) => row.map(csvCell).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "review.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    review.saved = true;
    keep();
    showFlags();
  }

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    o: flipOverlays,
    1: () => setFlag(current, "good"),
    2: () => setFlag(current, "fix"),
    3: () => setFlag(current, "drop"),
    0: () => setFlag(current, null),
    s: saveFlags,
    "?": () => open(one("#keys")),
  };
  // These scroll the page until a panel is chosen.
  const panelKeys = { " ": flipOverlays, ArrowDown: () => step(1), ArrowUp: () => step(-1), Escape: () => select(null) };
  const enlargedKeys = { " ": flipOverlays, o: flipOverlays };

  function actionFor(event) {
    if (one("#keys").open) return null;
    if (enlarged.open) return enlargedKeys[event.key];
    if (event.target.closest("select")) return null;
    if (event.key in keys) return keys[event.key];
    const usesKey = event.target.closest(event.key === " " ? "button, summary, a, input" : "input, .scroll");
    return current && !usesKey ? panelKeys[event.key] : null;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = actionFor(event);
    if (!action) return;
    event.preventDefault();
    action();
  });

  document.addEventListener("focusin", (event) => {
    const panel = event.target.closest(".panel");
    if (panel) select(panel);
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("button, a, dialog");
    const panel = event.target.closest(".panel");
    if (panel) select(panel);
    if (target?.matches(".picture")) enlarge(target);
    else if (target?.matches(".overlays")) flipOverlays();
    else if (target?.matches(".flags button")) {
      setFlag(panel, target.getAttribute("aria-pressed") === "true" ? null : target.dataset.flag);
    } else if (target?.matches("#all-overlays")) flipAllOverlays();
    else if (target?.matches("#save")) saveFlags();
    else if (target?.matches("#show-keys")) open(one("#keys"));
    else if (target?.matches(".close, #enlarged")) event.target.closest("dialog").close();
    else if (target?.matches(".sort-order")) {
      const gallery = target.closest(".gallery");
      gallery.classList.toggle("falling");
      sort(gallery);
    } else if (target?.matches(".look-first a")) {
      event.preventDefault();
      goTo(document.getElementById(target.hash.slice(1)));
    }
    // A button that was clicked with the mouse must not keep the space bar to itself.
    if (panel && event.detail > 0 && !enlarged.open) panel.focus({ preventScroll: true });
  });

  document.addEventListener("change", (event) => {
    if (!event.target.matches(".sort-key")) return;
    const gallery = event.target.closest(".gallery");
    gallery.classList.remove("falling");
    sort(gallery);
  });

  one("#opacity")?.addEventListener("input", (event) => {
    document.body.style.setProperty("--opacity", event.target.value / 100);
  });

  enlarged.addEventListener("close", () => current?.focus({ preventScroll: true }));

  window.addEventListener("beforeunload", (event) => {
    if (!review.saved) event.preventDefault();
  });

  const toolbar = one(".toolbar");
  if (toolbar) {
    new ResizeObserver(() => {
      document.body.style.setProperty("--toolbar-height", `${toolbar.offsetHeight}px`);
    }).observe(toolbar);
  }

  all(".gallery").forEach(sort);
  recall();
  showFlags();
})();
