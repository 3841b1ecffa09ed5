"use strict";
// Tables that can be sorted and filtered, and charts that answer when they are pointed at.
// Everything on the page can be read without it.
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];

  function value(row, column, kind) {
    const cell = row.cells[column];
    return kind === "number" ? Number(cell.dataset.value ?? 0) : cell.textContent;
  }

  function sort(table, head, column) {
    const kind = head.dataset.kind;
    const now = head.getAttribute("aria-sort");
    const down = now ? now === "ascending" : kind === "number";
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const words = new Intl.Collator("en", { numeric: true });
    const compare = kind === "number" ? (a, b) => a - b : words.compare;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column, kind), row]);
    rows.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function sortable(table) {
    all("th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  }

  function filtered(table) {
    const rows = [...table.tBodies[0].rows].map((row) => [row.textContent.toLowerCase(), row]);
    const label = document.createElement("label");
    const field = document.createElement("input");
    const shown = document.createElement("output");
    field.type = "search";
    field.placeholder = "type a part of a name or version";
    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const [text, row] of rows) row.hidden = !words.every((word) => text.includes(word));
      const left = rows.filter(([, row]) => !row.hidden).length;
      shown.textContent = field.value ? `${left} of ${rows.length}` : "";
    };
    field.addEventListener("input", show);
    label.append("Filter ", field);
    const line = document.createElement("p");
    line.className = "filter";
    line.append(label, " ", shown);
    table.parentElement.before(line);
  }

  function graph(drawing) {
    const lines = all(".line", drawing);
    const light = (name) => {
      const lit = lines.filter((l) => l.dataset.from === name || l.dataset.to === name);
      const names = new Set([name, ...lit.flatMap((l) => [l.dataset.from, l.dataset.to])]);
      drawing.classList.toggle("pointed", name !== null);
      for (const line of lines) line.classList.toggle("lit", lit.includes(line));
      for (const node of all(".node", drawing)) {
        node.classList.toggle("lit", names.has(node.dataset.name));
      }
    };
    for (const node of all(".node", drawing)) {
      node.addEventListener("pointerenter", () => light(node.dataset.name));
      node.addEventListener("pointerleave", () => light(null));
    }
  }

  function map(drawing) {
    const told = document.getElementById("tile");
    let chosen = null;
    const tell = (event) => {
      const tile = event.target.closest(".tile");
      if (!tile || tile === chosen) return;
      chosen?.classList.remove("chosen");
      tile.classList.add("chosen");
      told.textContent = tile.title;
      chosen = tile;
    };
    drawing.addEventListener("pointerover", tell);
    drawing.addEventListener("click", tell);
  }

  all("table.sortable").filter((table) => table.tBodies[0].rows.length > 2).forEach(sortable);
  all("table.filtered").forEach(filtered);
  all(".graph svg").forEach(graph);
  all(".map").forEach(map);
  for (const log of all(".log")) log.scrollTop = log.scrollHeight;
})();
