"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const MAX_TILES = 60;

  // One picture holds all thumbnails, another one larger ones of the first images. A CSS variable makes them available
  // in shadow trees, too (Bokeh's tooltips).
  for (const id of ["atlas", "large-atlas"]) {
    const [head, body] = read(id).split(",");
    const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    const type = head.slice(5).split(";")[0];
    const url = URL.createObjectURL(new Blob([bytes], { type }));
    document.documentElement.style.setProperty(`--${id}`, `url("${url}")`);
  }
  const large = new Map(data.large.map(([number, column, row]) => [number, [column, row]]));

  const format = (value) => (data.classes.length ? data.classes[value] : value);

  function tile(number) {
    const figure = document.createElement("figure");
    figure.className = "tile";
    const picture = document.createElement("span");
    picture.className = "picture";
    picture.setAttribute("role", "img");
    picture.tabIndex = -1;
    picture.setAttribute("aria-label", data.names[number]);
    picture.classList.toggle("large", large.has(number));
    const [column, row] = large.get(number) ?? [number % data.columns, Math.floor(number / data.columns)];
    picture.style.setProperty("--column", column);
    picture.style.setProperty("--row", row);
    const caption = document.createElement("figcaption");
    const [label, predicted] = [format(data.true[number]), format(data.predicted[number])];
    caption.textContent = label === predicted ? label : `${label}, predicted ${predicted}`;
    const name = document.createElement("small");
    name.title = data.names[number];
    name.append(...data.names[number].split("/").flatMap((part, depth) => (depth ? ["/", document.createElement("wbr"), part] : [part])));
    caption.append(name);
    figure.append(picture, caption);
    return figure;
  }

  function show(gallery, title, numbers) {
    const heading = document.createElement("p");
    const cut = numbers.length > MAX_TILES ? `, the first ${MAX_TILES} shown` : "";
    const partial = data.partial ? " on this page" : "";
    heading.textContent = `${title}: ${numbers.length} ${numbers.length === 1 ? "image" : "images"}${partial}${cut}`;
    const place = document.getElementById(gallery);
    place.replaceChildren(heading, ...numbers.slice(0, MAX_TILES).map(tile));
    makeFirstReachable(place);
  }

  const imagesWhere = (test) => data.names.map((_, number) => number).filter(test);

  function showCell(label, predicted) {
    const numbers = imagesWhere((number) => data.true[number] === label && data.predicted[number] === predicted);
    show("gallery", `${format(label)}, predicted ${format(predicted)}`, numbers);
  }

  for (const button of document.querySelectorAll("button[data-predicted]")) {
    button.addEventListener("click", () => showCell(Number(button.dataset.true), Number(button.dataset.predicted)));
  }
  document.getElementById("show-cell")?.addEventListener("click", () => {
    const choice = (id) => Number(document.getElementById(id).value);
    showCell(choice("label-choice"), choice("predicted-choice"));
  });
  for (const button of document.querySelectorAll("button[data-class]")) {
    button.addEventListener("click", () => {
      const label = Number(button.dataset.class);
      show("class-gallery", format(label), imagesWhere((number) => data.true[number] === label));
    });
  }

  // Tab reaches the first thumbnail of a gallery; arrow keys move on, so that no gallery takes a hundred key presses.
  const GALLERIES = ".groups, .gallery:not(.groups .gallery)";
  const pictures = (place) => [...place.querySelectorAll(".picture")];

  function makeFirstReachable(place) {
    const first = place.querySelector(".picture");
    if (first) first.tabIndex = 0;
  }

  for (const place of document.querySelectorAll(GALLERIES)) {
    makeFirstReachable(place);
    place.addEventListener("keydown", (event) => {
      const all = pictures(place);
      const index = all.indexOf(document.activeElement);
      const next = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: all.length - 1 }[event.key];
      if (index < 0 || !all[next]) return;
      event.preventDefault();
      all[index].tabIndex = -1;
      all[next].tabIndex = 0;
      all[next].focus();
    });
  }

  // Tables are sorted by the column whose header is clicked.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.textContent = cell.textContent;
      cell.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = cell.classList.contains("number");
        const ascending = cell.getAttribute("aria-sort") === (numeric ? "descending" : null) ||
          cell.getAttribute("aria-sort") === "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        const compare = (row, other) => {
          if (!numeric) return key(row).localeCompare(key(other));
          const [a, b] = [Number(key(row)), Number(key(other))];
          return (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b);
        };
        const rows = [...table.tBodies[0].rows].sort(compare);
        table.tBodies[0].append(...(ascending ? rows : rows.reverse()));
      });
    });
  }

  // Plots use the colors of the page, and follow its light or dark mode.
  const views = [];

  function setColors() {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const colors = {
      axis_label_text_color: ink, major_label_text_color: ink, title_text_color: ink, axis_line_color: soft, major_tick_line_color: soft,
      minor_tick_line_color: null, grid_line_color: line,
    };
    for (const view of views) {
      for (const model of view.model.document.all_models) {
        for (const [name, value] of Object.entries(colors)) {
          if (name === "grid_line_color" && model[name] === null) continue;
          if (name in model.properties) model[name] = value;
        }
        if (model.type === "Label") model.text_color = ink;
        const property = { rings: "line_color", "on-weak": "text_color" }[model.name];
        for (const part of property ? ["glyph", "nonselection_glyph", "selection_glyph", "muted_glyph"] : []) {
          if (model[part]?.properties) model[part][property] = ink;
        }
      }
    }
  }

  function source(name, renderer) {
    const view = views.find((candidate) => candidate.model.name === name);
    if (!view) return null;
    const match = view.model.renderers.find((candidate) => candidate.name === renderer) ?? view.model.renderers[0];
    return match.data_source;
  }

  function onSelect(dataSource, action) {
    dataSource?.selected.properties.indices.change.connect(() => {
      if (dataSource.selected.indices.length) action(dataSource.selected.indices);
    });
  }

  // Arrow keys select the nearest point in their direction: closer ones first, and those straight ahead.
  const DIRECTIONS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  function moveOnMap(event, points) {
    const { x, y } = points.data;
    const [current] = points.selected.indices;
    const direction = DIRECTIONS[event.key];
    if (event.key === "Escape") {
      points.selected.indices = [];
      document.getElementById("map-gallery").replaceChildren();
      return;
    }
    if (!direction) return;
    event.preventDefault();
    let [next, smallest] = [current === undefined ? 0 : current, Infinity];
    for (let index = 0; current !== undefined && index < x.length; index++) {
      const [dx, dy] = [x[index] - x[current], y[index] - y[current]];
      const ahead = dx * direction[0] + dy * direction[1];
      const aside = Math.abs(dx * direction[1] + dy * direction[0]);
      if (index !== current && ahead > 0 && ahead + 2 * aside < smallest) [next, smallest] = [index, ahead + 2 * aside];
    }
    points.selected.indices = [next];
  }

  function connect() {
    const cells = source("confusion");
    onSelect(cells, ([index]) => showCell(cells.data.true[index], cells.data.predicted[index]));
    const points = source("map", "dots");
    points.data = { ...points.data, name: data.names };
    onSelect(points, (indices) => show("map-gallery", "Selected", [...indices]));
    document.getElementById("plot-map").addEventListener("keydown", (event) => moveOnMap(event, points));
    for (const radio of document.querySelectorAll("input[name=projection]")) {
      radio.addEventListener("change", () => {
        points.data = { ...points.data, x: points.data[`${radio.value}_x`], y: points.data[`${radio.value}_y`] };
        views.find((view) => view.model.name === "map").model.reset.emit();
      });
    }
    const box = document.getElementById("rings");
    const map = views.find((view) => view.model.name === "map");
    const rings = map?.model.renderers.find((renderer) => renderer.name === "rings");
    if (box && rings) {
      box.checked = rings.visible;
      box.addEventListener("change", () => { rings.visible = box.checked; });
    }
    const legend = [...document.querySelectorAll("button[data-highlight]")];
    for (const button of legend) {
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") !== "true";
        for (const other of legend) other.setAttribute("aria-pressed", String(other === button && pressed));
        const label = Number(button.dataset.highlight);
        const alpha = data.true.map((value) => (!pressed ? 0.85 : value === label ? 1 : 0.08));
        points.data = { ...points.data, alpha };
      });
    }
  }

  async function draw() {
    for (const item of Object.values(read("plots"))) {
      const manager = await Bokeh.embed.embed_item(item);
      views.push(...(manager.roots ?? Object.values(manager)));
    }
    setColors();
    connect();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", setColors);
    document.documentElement.dataset.drawn = "true";
  }

  draw();
})();
