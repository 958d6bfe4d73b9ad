// Figures that move. Each takes the place of the still picture in <figure id="moving-...">.
// The numbers come from <script id="moving-data">; the arithmetic is done here, in full.
(() => {
  "use strict";

  // A small seeded generator (mulberry32), so that the first view is the same every time.
  function generator(seed) {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let bits = Math.imul(state ^ (state >>> 15), 1 | state);
      bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
      return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const scaleOf = (p) => 1 / (1 - p);
  const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const whole = (value) => value.toLocaleString("en-GB");

  // Markup

  function element(parent, name, attributes = {}, text = "") {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function draw(parent, name, attributes = {}, text = "") {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  // The parts of a figure, from top to bottom: controls, legend, picture, table, sentence.
  function parts(figure, title, redraw) {
    const panel = document.createElement("div");
    panel.className = "moving";
    figure.querySelector("img").after(panel);
    figure.classList.add("moves");
    const controls = element(panel, "div", { class: "moving-controls" });
    const legend = element(panel, "ul", { class: "moving-legend" });
    const svg = element(panel, "div", { class: "moving-picture" }).appendChild(
      document.createElementNS("http://www.w3.org/2000/svg", "svg"));
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-labelledby", `${figure.id}-title ${figure.id}-text`);
    const table = element(panel, "table", { class: "moving-numbers" });
    const line = element(panel, "p", { class: "moving-line", "aria-live": "polite" });
    let waiting;
    const say = (sentence) => {
      clearTimeout(waiting);
      if (!line.textContent) line.textContent = sentence; // with the page: not announced
      // While a slider is dragged, only where it comes to rest.
      else waiting = setTimeout(() => { line.textContent = sentence; }, 250);
    };
    const clear = (width, height, text) => {
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      draw(svg, "title", { id: `${figure.id}-title` }, title);
      draw(svg, "desc", { id: `${figure.id}-text` }, text);
      say(text);
    };
    // One unit of the picture is one pixel of the page, so that its type never shrinks.
    let drawn = 0;
    const update = () => redraw((drawn = svg.parentNode.clientWidth));
    new ResizeObserver(() => {
      if (svg.parentNode.clientWidth !== drawn) update();
    }).observe(svg.parentNode);
    return { controls, legend, svg, table, line, clear, update };
  }

  function slider(part, id, { label, max, step, value }) {
    const box = element(part.controls, "div", { class: "moving-slider" });
    element(box, "label", { for: id }, label);
    const range = { id, type: "range", min: 0, max, step };
    const input = element(box, "input", { ...range, value, autocomplete: "off" });
    const shown = element(box, "output", { for: id, "aria-live": "off" });
    const show = () => { shown.textContent = fixed(Number(input.value)); };
    input.addEventListener("input", () => { show(); part.update(); });
    show();
    return () => Number(input.value);
  }

  function button(part, label, act) {
    const made = element(part.controls, "button", { type: "button" }, label);
    made.addEventListener("click", act);
    return made;
  }

  // Rows of [name, {column: [value, text]}]; each cell keeps its value in full.
  function fill(table, rows) {
    table.replaceChildren();
    const head = element(element(table, "thead"), "tr");
    if (rows.length > 1) element(head, "td");
    for (const column of Object.keys(rows[0][1])) element(head, "th", { scope: "col" }, column);
    const body = element(table, "tbody");
    for (const [name, cells] of rows) {
      const row = element(body, "tr");
      if (rows.length > 1) element(row, "th", { scope: "row" }, name);
      for (const [column, [value, text]] of Object.entries(cells)) {
        element(row, "td", { "data-name": `${name}: ${column}`, "data-value": value }, text);
      }
    }
  }

  // Network: one mask, and what it does to the numbers that flow through

  function network(figure, { input, weights: [first, second], biases: [b1, [b2]] }) {
    const units = b1.map((_, j) => j);
    const random = generator(1);
    let draws = units.map(random);
    const hidden = units.map((j) =>
      Math.max(0, sum(input.map((x, i) => x * first[i][j])) + b1[j]));
    const output = (values) => sum(values.map((h, j) => h * second[j][0])) + b2;
    const part = parts(figure, "A network in training, and the same network at test time",
      (width) => {
        const p = rate();
        const mask = draws.map((u) => u >= p);
        const kept = mask.filter(Boolean).length;
        const scaled = hidden.map((h, j) => (mask[j] ? h * scaleOf(p) : 0));
        const [training, test] = [output(scaled), output(hidden)];
        part.clear(width, 300, sentence(p, kept, training, test));
        part.svg.dataset.mask = mask.map(Number).join("");
        const half = width / 2;
        paths(0, half, "in training", scaled, mask, training);
        paths(half, half, "at test time", hidden, units.map(() => true), test);
        fill(part.table, [["network", {
          "scale 1/(1\u00a0−\u00a0p)": [scaleOf(p), fixed(scaleOf(p))],
          "units kept": [kept, `${kept} of ${units.length}`],
          "output in training": [training, fixed(training)],
          "output at test time": [test, fixed(test)],
        }]]);
      });

    function sentence(p, kept, training, test) {
      const at = `At p = ${fixed(p)}`;
      const outputs = `the output is ${fixed(training)} in training and ${fixed(test)} at test time.`;
      if (p === 0) return `${at} nothing is dropped; ${outputs}`;
      if (kept === 0) return `${at} this mask drops all units and leaves the bias; ${outputs}`;
      return `${at} this mask keeps ${kept} of ${units.length} hidden units and multiplies ` +
        `them by ${fixed(scaleOf(p))}; ${outputs}`;
    }

    function paths(left, width, title, values, mask, result) {
      const radius = 18;
      const places = (count, x) => Array.from({ length: count }, (_, i) =>
        [left + x, 165 + 44 * (i - (count - 1) / 2)]);
      const columns = [
        places(input.length, radius + 4),
        places(units.length, width / 2),
        places(1, width - radius - 4),
      ];
      draw(part.svg, "text", { x: left + width / 2, y: 16, class: "middle" }, title);
      const line = ([x1, y1], [x2, y2], look) =>
        draw(part.svg, "line", { x1, y1, x2, y2, class: look });
      for (const j of units.filter((unit) => mask[unit])) {
        for (const place of columns[0]) line(place, columns[1][j], "path");
        line(columns[1][j], columns[2][0], "path");
      }
      const unit = ([cx, cy], look, value) => {
        draw(part.svg, "circle", { cx, cy, r: radius, class: look });
        const text = fixed(value, Math.abs(value) < 9.995 ? 2 : 1);
        draw(part.svg, "text", { x: cx, y: cy + 4, class: `middle ${look}-value` }, text);
      };
      columns[0].forEach((place, i) => unit(place, "open", input[i]));
      columns[1].forEach(([x, y], j) => {
        if (mask[j]) return unit([x, y], "kept", values[j]);
        draw(part.svg, "circle", { cx: x, cy: y, r: radius, class: "dropped" });
        const arm = radius * Math.SQRT1_2;
        line([x - arm, y - arm], [x + arm, y + arm], "dropped");
        line([x - arm, y + arm], [x + arm, y - arm], "dropped");
      });
      unit(columns[2][0], "open", result);
    }

    const rate = slider(part, "network-p",
      { label: "drop probability p", max: 0.9, step: 0.05, value: 0.5 });
    const next = () => { draws = units.map(random); part.update(); };
    button(part, "Next mask", next);
    let clock = null;
    const stop = () => {
      clearInterval(clock);
      clock = null;
      play.textContent = "Play";
      part.line.setAttribute("aria-live", "polite");
    };
    const play = button(part, "Play", () => {
      if (clock) return stop();
      clock = setInterval(next, 1200);
      play.textContent = "Pause";
      part.line.setAttribute("aria-live", "off"); // or a screen reader would never be done
    });
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    const settle = () => { play.hidden = calm.matches; if (calm.matches) stop(); };
    calm.addEventListener("change", settle);
    settle();
    part.legend.remove();
    part.update();
  }

  const figures = { network };
  const data = JSON.parse(document.getElementById("moving-data").textContent);
  for (const [name, numbers] of Object.entries(data)) {
    figures[name](document.getElementById(`moving-${name}`), numbers);
  }
})();
