"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const MOST_TILES = 60;

  // Thumbnails: one picture, named once, found by its variable in shadow trees too (Bokeh's tooltips).
  const [head, body] = read("atlas").split(",");
  const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
  const type = head.slice(5).split(";")[0];
  document.documentElement.style.setProperty("--atlas", `url("${URL.createObjectURL(new Blob([bytes], { type }))}")`);

  const said = (value) => (data.classes.length ? data.classes[value] : value);

  function tile(number) {
    const figure = document.createElement("figure");
    figure.className = "tile";
    const picture = document.createElement("span");
    picture.className = "picture";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", data.names[number]);
    const x = (number % data.columns) * data.side;
    const y = Math.floor(number / data.columns) * data.side;
    picture.style.backgroundPosition = `-${x}px -${y}px`;
    const caption = document.createElement("figcaption");
    const [label, predicted] = [said(data.true[number]), said(data.predicted[number])];
    caption.textContent = label === predicted ? label : `${label}, predicted ${predicted}`;
    const name = document.createElement("small");
    name.textContent = name.title = data.names[number];
    caption.append(name);
    figure.append(picture, caption);
    return figure;
  }

  function show(place, words, numbers) {
    const heading = document.createElement("p");
    const more = numbers.length > MOST_TILES ? `, the first ${MOST_TILES}` : "";
    const of = data.partial ? " of those on this page" : "";
    heading.textContent = `${words}: ${numbers.length} ${numbers.length === 1 ? "image" : "images"}${of}${more}`;
    document.getElementById(place).replaceChildren(heading, ...numbers.slice(0, MOST_TILES).map(tile));
  }

  const where = (test) => data.names.map((_, number) => number).filter(test);

  function showCell(label, predicted) {
    const numbers = where((at) => data.true[at] === label && data.predicted[at] === predicted);
    show("gallery", `${said(label)}, predicted ${said(predicted)}`, numbers);
  }

  for (const button of document.querySelectorAll("button[data-predicted]")) {
    button.addEventListener("click", () => showCell(Number(button.dataset.true), Number(button.dataset.predicted)));
  }
  document.getElementById("show-cell")?.addEventListener("click", () => {
    const chosen = (id) => Number(document.getElementById(id).value);
    showCell(chosen("of-label"), chosen("as-predicted"));
  });
  for (const button of document.querySelectorAll("button[data-class]")) {
    button.addEventListener("click", () => {
      const label = Number(button.dataset.class);
      show("of-class", said(label), where((at) => data.true[at] === label));
    });
  }

  // Tables that sort by the column whose head is pressed.
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
        const order = (one, other) => {
          if (!numeric) return key(one).localeCompare(key(other));
          const [a, b] = [Number(key(one)), Number(key(other))];
          return (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b);
        };
        const rows = [...table.tBodies[0].rows].sort(order);
        table.tBodies[0].append(...(ascending ? rows : rows.reverse()));
      });
    });
  }

  // Plots take the page's colours, and change with them.
  const views = [];

  function colour() {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const colours = {
      axis_label_text_color: ink, major_label_text_color: ink, title_text_color: ink, axis_line_color: soft, major_tick_line_color: soft,
      minor_tick_line_color: null, grid_line_color: line,
    };
    for (const view of views) {
      for (const model of view.model.document.all_models) {
        for (const [name, value] of Object.entries(colours)) {
          if (name === "grid_line_color" && model[name] === null) continue;
          if (name in model.properties) model[name] = value;
        }
        if (model.type === "Label") model.text_color = ink;
        const of = { rings: "line_color", "on-weak": "text_color" }[model.name];
        for (const part of of ? ["glyph", "nonselection_glyph", "selection_glyph", "muted_glyph"] : []) {
          if (model[part]?.properties) model[part][of] = ink;
        }
      }
    }
  }

  function source(name, renderer) {
    const view = views.find((one) => one.model.name === name);
    if (!view) return null;
    const found = view.model.renderers.find((one) => one.name === renderer) ?? view.model.renderers[0];
    return found.data_source;
  }

  function onSelect(of, act) {
    of?.selected.properties.indices.change.connect(() => {
      if (of.selected.indices.length) act(of.selected.indices);
    });
  }

  function wire() {
    const cells = source("confusion");
    onSelect(cells, ([at]) => showCell(cells.data.true[at], cells.data.predicted[at]));
    const points = source("map", "dots");
    points.data = { ...points.data, name: data.names };
    onSelect(points, (indices) => show("chosen", "Chosen", [...indices]));
    for (const radio of document.querySelectorAll("input[name=projection]")) {
      radio.addEventListener("change", () => {
        points.data = { ...points.data, x: points.data[`${radio.value}_x`], y: points.data[`${radio.value}_y`] };
        views.find((one) => one.model.name === "map").model.reset.emit();
      });
    }
    const box = document.getElementById("rings");
    const rings = views.find((one) => one.model.name === "map")?.model.renderers.find((one) => one.name === "rings");
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
    colour();
    wire();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colour);
    document.documentElement.dataset.drawn = "true";
  }

  draw();
})();
