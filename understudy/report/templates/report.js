"use strict";
// Optional extras on a page that is complete without scripts: sortable tables, and a browser of all images. All data is in the page.
(() => {
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Tables: a button in every column head sorts by that column; a second press reverses the order.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const marked = cell.querySelector("[data-value]");
    const text = (marked ? marked.dataset.value : cell.textContent).trim().replaceAll(",", "").replace("\u2212", "-");
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text === "null" || text === "none" ? null : text;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const keyed = [...body.rows].map(row => [valueOf(row, column), row]);
    // Rows without a value come last in either order.
    keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? compare(b, a) : compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", className: "sort" });
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down);
      });
      head.append(button);
    });
  }

  // Open all details for printing.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach(part => (part.open = true));
  });
  addEventListener("afterprint", () => folded.forEach(part => (part.open = false)));

{% if has_browser %}
  // Images. Columns are parsed at once, which is quick; a sheet of thumbnails is decoded when one of its images is first shown.
  const PER_PAGE = 200;
  const NAMES = { synthetic: "synthetic image", train: "real train image", test: "real test image" };
  const { classes, tile, across, sets } = JSON.parse(document.getElementById("columns").textContent);
  const sheets = {};
  for (const script of document.querySelectorAll("script.sheet")) (sheets[script.dataset.set] ??= []).push({ script, image: null });
  const decoded = sheet => {
    if (!sheet.image) {
      const image = new Image();
      image.src = `data:image/webp;base64,${sheet.script.textContent}`;
      sheet.image = image.decode().then(() => image);
    }
    return sheet.image;
  };
  const picture = (set, index) => {
    const canvas = make("canvas", { width: tile, height: tile });
    canvas.setAttribute("aria-hidden", "true");
    const full = across * across, at = index % full;
    decoded(sheets[set][Math.floor(index / full)]).then(image =>
      canvas.getContext("2d").drawImage(image, (at % across) * tile, Math.floor(at / across) * tile, tile, tile, 0, 0, tile, tile));
    return canvas;
  };

  const element = id => document.getElementById(id);
  const form = element("filters"), fields = form.elements, tiles = element("tiles"), detail = element("detail");
  const state = { found: [], page: 0, of: null };
  const has = (set, column) => Boolean(sets[set][column]);
  const percent = share => `${(100 * share).toFixed(0)}%`;
  const known = value => value !== null && value !== undefined;
  const related = (set, index) =>
    set === "synthetic" ? ["source", "nearest"].filter(key => has(set, key) && sets[set][key][index] >= 0).map(key => [key, sets[set][key][index]]) : [];

  // By arm and test image: the wrong classes it was named as, each with the share of trainings that do so, most frequent first.
  const misnamed = {};
  for (const [arm, { trainings, image, named, times }] of Object.entries(sets.test?.wrong ?? {})) {
    misnamed[arm] = sets.test.labels.map(() => []);
    image.forEach((index, entry) => misnamed[arm][index].push([named[entry], times[entry] / trainings]));
  }
  const wantedName = () => (sets[fields.set.value].wrong && fields.named.value !== "" ? Number(fields.named.value) : null);
  const share = (arm, index, only = null) =>
    (misnamed[arm]?.[index] ?? []).reduce((sum, [name, part]) => sum + (only === null || name === only ? part : 0), 0);

  const facts = (set, index, arms = Object.keys(sets[set].wrong ?? {})) => {
    const own = sets[set], rows = [["class", classes[own.labels[index]]]];
    if (known(own.score?.[index])) rows.push(["score", own.score[index]]);
    if (own.flag?.[index]) rows.push(["mark", own.flag[index]]);
    if (known(own.distance?.[index])) rows.push(["distance to nearest", own.distance[index]]);
    for (const arm of arms) {
      rows.push([`wrong in ${arm}`, percent(share(arm, index))]);
      rows.push(...misnamed[arm][index].map(([name, part]) => [`named ${classes[name]}`, `in ${percent(part)} of trainings of ${arm}`]));
    }
    return rows;
  };

  // Orders of a set: label, sort key of an image, and 1 for ascending or -1 for descending.
  const orders = set => ({
    stored: ["as stored", null],
    ...(has(set, "score") && { worst: ["lowest score first", i => sets[set].score[i], 1], best: ["highest score first", i => sets[set].score[i], -1] }),
    ...(has(set, "distance") && { near: ["nearest to a train image first", i => sets[set].distance[i], 1] }),
    ...(Object.keys(sets[set].wrong ?? {}).length && { wrong: ["most often wrong first", i => share(fields.arm.value, i, wantedName()), -1] }),
  });
  const options = (select, entries) => {
    const before = select.value;
    select.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
    if (entries.some(([value]) => value === before)) select.value = before;
  };
  const fit = () => {
    const set = fields.set.value;
    options(fields.order, Object.entries(orders(set)).map(([key, [text]]) => [key, text]));
    options(fields.flag, [["", "any"], ...[...new Set(sets[set].flag ?? [])].filter(Boolean).map(flag => [flag, flag])]);
    options(fields.arm, Object.keys(sets[set].wrong ?? {}).map(arm => [arm, arm]));
    for (const label of form.querySelectorAll("[data-needs]")) {
      const column = sets[set][label.dataset.needs];
      label.hidden = !column || Object.keys(column).length === 0;
    }
  };

  const find = () => {
    const set = fields.set.value, own = sets[set];
    const label = fields.class.value === "" ? null : Number(fields.class.value);
    const [least, most] = ["least", "most"].map(name => (own.score && fields[name].value !== "" ? Number(fields[name].value) : null));
    const flag = own.flag ? fields.flag.value : "", named = wantedName();
    const kept = index =>
      (label === null || own.labels[index] === label) &&
      (least === null || (known(own.score[index]) && own.score[index] >= least)) &&
      (most === null || (known(own.score[index]) && own.score[index] <= most)) &&
      (flag === "" || own.flag[index] === flag) &&
      (named === null || share(fields.arm.value, index, named) > 0) &&
      (state.of === null || related(set, index).some(([, real]) => real === state.of));
    state.found = own.labels.map((_, index) => index).filter(kept);
    const [, key, sign] = orders(set)[fields.order.value];
    if (key) state.found.sort((a, b) => (known(key(a)) && known(key(b)) ? sign * (key(a) - key(b)) : known(key(b)) - known(key(a))) || a - b);
  };

  const card = (set, index) => {
    const arm = set === "test" ? fields.arm.value : "";
    const rows = facts(set, index, arm ? [arm] : []), small = related(set, index).map(([key, real]) => Object.assign(picture("train", real), { title: key }));
    const [, name] = rows[0];
    const words = rows.slice(1).map(([key, value]) => `${key} ${value}`);
    const [as] = wantedName() === null && arm ? misnamed[arm][index].map(([class_]) => class_) : [wantedName()];
    const shown = known(as) ? `${percent(share(arm, index, as))} as ${classes[as]}` : arm ? "never wrong" : words[0] ?? "";
    const button = make("button", { type: "button", tabIndex: -1 },
      make("span", { className: "pictures" }, picture(set, index), make("span", { className: "small" }, ...small)),
      make("span", { className: "words", textContent: [name, shown].filter(Boolean).join(" · ") }));
    if (sets[set].flag?.[index]) button.append(make("span", { className: "flag", textContent: sets[set].flag[index] }));
    button.setAttribute("aria-label", [`${NAMES[set]} of ${name}`, ...words].join(", "));
    button.addEventListener("click", () => open(set, index));
    return make("li", {}, button);
  };
  const show = page => {
    const set = fields.set.value, pages = Math.max(1, Math.ceil(state.found.length / PER_PAGE));
    state.page = Math.min(Math.max(page, 0), pages - 1);
    const first = state.page * PER_PAGE;
    tiles.replaceChildren(...state.found.slice(first, first + PER_PAGE).map(index => card(set, index)));
    if (tiles.firstChild) tiles.querySelector("button").tabIndex = 0;
    const last = Math.min(first + PER_PAGE, state.found.length);
    const held = sets[set].labels.length.toLocaleString("en");
    element("count").textContent = state.found.length
      ? `${state.found.length.toLocaleString("en")} of ${held} ${NAMES[set]}s; showing ${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")}.`
      : `No ${NAMES[set]} matches these filters.`;
    element("page").textContent = `page ${state.page + 1} of ${pages}`;
    element("previous").disabled = state.page === 0;
    element("next").disabled = state.page === pages - 1;
  };
  const update = () => {
    element("of").hidden = state.of === null;
    if (state.of !== null) element("of").firstElementChild.textContent = `Only images drawn from, or nearest to, the train image ${sets.train.ids[state.of]}.`;
    find();
    show(0);
  };
  const clear = () => { form.reset(); state.of = null; fit(); };
  const browse = ({ set, class: label = "", of = null, arm, named = "" }) => {
    clear();
    fields.set.value = set;
    fit();
    [fields.class.value, fields.named.value, state.of] = [label, named, of];
    if (arm) [fields.arm.value, fields.order.value] = [arm, "wrong"];
    update();
    started = true;
    element("browser-title").scrollIntoView();
    element("browser-title").focus({ preventScroll: true });
  };

  // One image enlarged, beside its source and nearest real image, with buttons that show the images sharing them.
  const open = (set, index) => {
    const real = set === "train" ? index : null;
    const figures = [[NAMES[set], set, index], ...related(set, index).map(([key, other]) => [`${key}: ${sets.train.ids[other]}`, "train", other])];
    const close = make("button", { type: "button", textContent: "Close" });
    close.addEventListener("click", () => detail.close());
    const jumps = (real === null ? related(set, index) : [["this", real]]).map(([key, of]) => {
      const jump = make("button", { type: "button", textContent: `Synthetic images drawn from, or nearest to, ${key === "this" ? "this image" : `its ${key}`}` });
      jump.addEventListener("click", () => { detail.close(); browse({ set: "synthetic", of }); });
      return jump;
    });
    detail.replaceChildren(
      make("h4", { id: "detail-title", textContent: sets[set].ids[index] }),
      make("div", { className: "large" }, ...figures.map(([text, from, which]) => make("figure", {}, picture(from, which), make("figcaption", { textContent: text })))),
      make("dl", {}, ...facts(set, index).map(([key, value]) => make("div", {}, make("dt", { textContent: key }), make("dd", { textContent: value })))),
      make("p", {}, ...jumps, close));
    detail.showModal();
  };

  // Arrow keys move between images; only one image at a time is a tab stop.
  const columnsShown = () => getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columnsShown, ArrowUp: () => -columnsShown(), Home: () => -Infinity, End: () => Infinity };
  const focus = place => {
    const buttons = [...tiles.querySelectorAll("button")];
    if (!buttons.length) return;
    buttons.forEach(button => (button.tabIndex = -1));
    const chosen = buttons[Math.min(Math.max(place, 0), buttons.length - 1)];
    chosen.tabIndex = 0;
    chosen.focus();
  };
  tiles.addEventListener("keydown", event => {
    const place = [...tiles.querySelectorAll("button")].indexOf(document.activeElement);
    if (event.key in steps) focus(place + steps[event.key]());
    else if (event.key === "PageDown" || event.key === "PageUp") { show(state.page + (event.key === "PageDown" ? 1 : -1)); focus(0); }
    else return;
    event.preventDefault();
  });
  form.addEventListener("input", event => { if (event.target === fields.set) { state.of = null; fit(); } update(); });
  form.addEventListener("submit", event => event.preventDefault());
  element("unfilter").addEventListener("click", () => { clear(); update(); });
  element("previous").addEventListener("click", () => show(state.page - 1));
  element("next").addEventListener("click", () => show(state.page + 1));
  element("of").querySelector("button").addEventListener("click", () => { state.of = null; update(); });

  for (const cell of document.querySelectorAll("[data-browse]")) {
    const button = make("button", { type: "button", className: "cell", title: "Show the images behind this figure" });
    button.append(...cell.childNodes);
    button.addEventListener("click", () => browse(JSON.parse(cell.dataset.browse)));
    cell.append(button);
  }
  // Matrices: selecting a mistake shows its images. One cell is a tab stop; arrow keys reach the others.
  for (const figure of document.querySelectorAll("figure[data-matrix]")) {
    const cells = [...figure.querySelectorAll("[data-cell]")], arm = figure.dataset.matrix;
    if (!cells.length) continue;
    const drawing = figure.querySelector("svg");
    drawing.setAttribute("role", "group");
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    cells.forEach((cell, place) => {
      const [label, named] = cell.dataset.cell.split(",").map(Number);
      const press = () => browse({ set: "test", class: label, named, arm });
      const words = `${classes[label]} named as ${classes[named]}, ${cell.dataset.share}%: show the images`;
      for (const [name, value] of [["role", "button"], ["tabindex", place ? -1 : 0], ["aria-label", words]]) cell.setAttribute(name, value);
      cell.append(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "title"), { textContent: words }));
      cell.addEventListener("click", press);
      cell.addEventListener("keydown", event => {
        if (event.key === "Enter" || event.key === " ") press();
        else if (event.key in step) {
          const next = cells[Math.min(Math.max(place + step[event.key], 0), cells.length - 1)];
          cell.setAttribute("tabindex", -1);
          next.setAttribute("tabindex", 0);
          next.focus();
        } else return;
        event.preventDefault();
      });
    });
  }
  element("browser").hidden = false;
  fit();
  let started = false;
  // The first images are shown when the reader scrolls near them, so that the page opens at once.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    if (!started) update();
    started = true;
  }, { rootMargin: "600px" }).observe(element("browser"));
{% endif %}
})();
