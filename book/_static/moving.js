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

  // A legend of [look, text]: the looks are those of the lines below.
  function explain(part, entries) {
    part.legend.replaceChildren();
    for (const [look, text] of entries) {
      const entry = element(part.legend, "li");
      const key = draw(entry, "svg", { width: 28, height: 12, "aria-hidden": "true" });
      if (look === "bar") draw(key, "rect", { x: 4, width: 20, height: 12, class: look });
      else draw(key, "path", { d: "M0 6H28", class: look });
      element(entry, "span", {}, text);
    }
  }

  // Side by side where there is room, else one below the other.
  function places(count, width, height) {
    const wide = width >= 520;
    const each = wide ? width / count : width;
    const all = Array.from({ length: count }, (_, i) =>
      (wide ? [i * each, 0, each, height] : [0, i * height, each, height]));
    return { all, total: wide ? height : count * height };
  }

  // Two axes in a box; gives a clipped drawing area and the places of x and y in it.
  function axes(svg, [left, top, width, height], title, x, y) {
    const [inner, outer] = [[left + 46, top + 24], [width - 74, height - 66]];
    const [x0, y0] = inner;
    const [w, h] = outer;
    const scale = ({ from, to, log }, length) => {
      const at = log ? Math.log10 : (value) => value;
      return (value) => (length * (at(value) - at(from))) / (at(to) - at(from));
    };
    const [atX, fromBottom] = [scale(x, w), scale(y, h)];
    const atY = (value) => h - fromBottom(value);
    const line = (d) => draw(svg, "path", { d, class: "axis" });
    draw(svg, "text", { x: x0 + w / 2, y: top + 14, class: "middle" }, title);
    line(`M${x0} ${y0}V${y0 + h}H${x0 + w}`);
    for (const tick of x.ticks) {
      line(`M${x0 + atX(tick)} ${y0 + h}v5`);
      const at = { x: x0 + atX(tick), y: y0 + h + 18, class: "middle" };
      draw(svg, "text", at, whole(tick));
    }
    for (const tick of y.ticks ?? []) {
      line(`M${x0} ${y0 + atY(tick)}h-5`);
      const at = { x: x0 - 8, y: y0 + atY(tick) + 4, class: "end" };
      draw(svg, "text", at, `${tick}`);
    }
    if (x.label) draw(svg, "text", { x: x0 + w / 2, y: y0 + h + 36, class: "middle" }, x.label);
    if (y.label) draw(svg, "text", { x: left, y: top + 14 }, y.label);
    const inside = { x: x0, y: y0, width: w, height: h, "aria-hidden": "true" };
    const area = draw(svg, "svg", inside);
    const course = (points) =>
      points.map(([a, b], i) => `${i ? "L" : "M"}${atX(a).toFixed(1)} ${atY(b).toFixed(1)}`).join("");
    return {
      area,
      atX,
      atY,
      line: (points, look) => draw(area, "path", { d: course(points), class: look }),
      band: (above, below, look) => draw(area, "path",
        { d: `${course([...above, ...[...below].reverse()])}Z`, class: look }),
    };
  }

  // Round numbers from 0 to `most`, three to six of them.
  function steps(most) {
    const power = 10 ** Math.floor(Math.log10(most / 2.5));
    const step = power * [1, 2, 5].find((times) => most / (power * times) <= 5);
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) =>
      Number((i * step).toPrecision(6)));
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
        const each = width / 2 - 10;
        paths(0, each, "in training", scaled, mask, training);
        paths(each + 20, each, "at test time", hidden, units.map(() => true), test);
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
      const radius = 20;
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

  // Distribution: the weighted sum one unit takes, under thousands of masks, scaled three ways

  function distribution(figure, { runs: [{ hidden, weights }] }) {
    const masks = 4000;
    const random = generator(2);
    const coins = new Float64Array(masks * hidden.length);
    const toss = () => coins.forEach((_, i) => { coins[i] = random(); });
    const products = hidden.map((h, j) => h * weights[j]);
    const all = sum(products);

    const part = parts(figure, "A weighted sum in training and at test time, scaled three ways",
      (width) => {
        const p = rate();
        const thinned = Array.from({ length: masks }, (_, i) =>
          sum(products.filter((_, j) => coins[i * hidden.length + j] >= p)));
        const ways = [
          ["no scaling", thinned, all],
          ["scaled at test time", thinned, all * (1 - p)],
          ["inverted dropout", thinned.map((z) => z * scaleOf(p)), all],
        ].map(([name, sums, test]) => ({ name, test, ...moments(sums), shares: shares(sums) }));
        const height = 140;
        part.clear(width, 3 * height, sentence(p, ways));
        const top = 1.05 * Math.max(...ways.flatMap((way) => [...way.shares.values()]));
        ways.forEach((way, i) => row(way, [0, i * height, width, height], top));
        fill(part.table, ways.map(({ name, mean, deviation, test }) => [name, {
          "mean in training": [mean, fixed(mean)],
          "standard deviation": [deviation, fixed(deviation)],
          "at test time": [test, fixed(test)],
          "ratio": [test / mean, fixed(test / mean)],
        }]));
      });

    function moments(sums) {
      const mean = sum(sums) / masks;
      const deviation = Math.sqrt(sum(sums.map((z) => (z - mean) ** 2)) / masks);
      return { mean, deviation };
    }

    const bin = 0.4;
    function shares(sums) {
      const found = new Map();
      for (const z of sums) {
        const left = Math.floor(z / bin);
        found.set(left, (found.get(left) ?? 0) + 1 / masks);
      }
      return found;
    }

    function row({ name, mean, test, shares: found }, box, top) {
      const x = { from: -4, to: 28, ticks: [0, 5, 10, 15, 20, 25] };
      x.label = name === "inverted dropout" ? "weighted sum of the hidden units" : "";
      const y = { from: 0, to: top, ticks: steps(top) };
      y.label = name === "no scaling" ? "share of masks" : "";
      const { area, atX, atY, line } = axes(part.svg, box, name, x, y);
      for (const [left, share] of found) {
        const size = { width: atX(bin) - atX(0), height: atY(0) - atY(share) };
        draw(area, "rect", { x: atX(left * bin), y: atY(share), ...size, class: "bar" });
      }
      line([[mean, 0], [mean, top]], "mean");
      line([[test, 0], [test, top]], "test");
    }

    function sentence(p, ways) {
      const [none, later, inverted] = ways.map(({ mean, test }) => fixed(test / mean));
      return `At p = ${fixed(p)} the sum at test time is ${none} times its mean in training ` +
        `without scaling, ${later} times with the factor at test time, and ${inverted} times ` +
        "with inverted dropout.";
    }

    const rate = slider(part, "distribution-p",
      { label: "drop probability p", max: 0.8, step: 0.05, value: 0.5 });
    button(part, "New masks", () => { toss(); part.update(); });
    explain(part, [["bar", "training, 4,000 masks"], ["mean", "their mean"],
      ["test", "at test time"]]);
    toss();
    part.update();
  }

  // Moments: mean and variance of one unit's output, draw after draw

  function moments(figure, { x }) {
    const most = 100000;
    let draws = 1000;
    let seed = 10;
    const part = parts(figure, "Running mean and variance of the output of one unit",
      (width) => {
        const p = rate();
        const kept = x * scaleOf(p); // the output of a unit that is kept
        const theory = (x ** 2 * p) / (1 - p);
        const fourth = p * x ** 4 + (1 - p) * (kept - x) ** 4;
        const means = track(p);
        const variance = (share) => kept ** 2 * share * (1 - share);
        const share = means.length ? means[means.length - 1][1] : 0;
        part.clear(width, places(2, width, 260).total,
          sentence(p, share * kept, variance(share), theory));
        part.svg.dataset.draws = draws;
        const [first, second] = places(2, width, 260).all;
        const axis = { from: 1, to: most, log: true, label: "draws" };
        axis.ticks = width < 520 || width >= 760 ? [1, 10, 100, 1000, 10000, 100000]
          : [1, 100, 10000];

        const mean = axes(part.svg, first, "mean of the output", axis,
          { from: 0, to: 2 * x, ticks: steps(2 * x) });
        const funnel = (sign) => [...Array(101).keys()].map((i) => 10 ** (i / 20))
          .map((n) => [n, x + sign * 2 * Math.sqrt(theory / n)]);
        mean.band(funnel(1), funnel(-1), "funnel");
        mean.line([[1, x], [most, x]], "theory");
        mean.line(means.map(([n, one]) => [n, one * kept]), "drawn");

        const top = 0.28 * kept ** 2; // at most a quarter is ever reached
        const spread = axes(part.svg, second, "variance of the output", axis,
          { from: 0, to: top, ticks: steps(top) });
        spread.line([[1, theory], [most, theory]], "theory");
        spread.line(means.map(([n, one]) => [n, variance(one)]), "drawn");

        const seen = (value) => (draws ? [value, fixed(value, 3)] : ["", "not yet"]);
        fill(part.table, [["mean", {
          "so far": seen(share * kept),
          "in theory": [x, fixed(x, 3)],
          "two standard errors": seen(2 * Math.sqrt(theory / draws)),
        }], ["variance", {
          "so far": seen(variance(share)),
          "in theory": [theory, fixed(theory, 3)],
          "two standard errors": seen(2 * Math.sqrt(Math.max(0, fourth - theory ** 2) / draws)),
        }]]);
      });

    // The share of draws that kept the unit: after each of the first hundred, then ever rarer.
    function track(p) {
      const random = generator(seed);
      const points = [];
      let kept = 0;
      let due = 1;
      for (let n = 1; n <= draws; n += 1) {
        kept += random() >= p;
        if (n < due && n < draws) continue;
        points.push([n, kept / n]);
        due = Math.max(n + 1, n * 1.01);
      }
      return points;
    }

    function sentence(p, mean, variance, theory) {
      const expected = `${fixed(x)} and ${fixed(theory)}`;
      if (!draws) return `No draw yet at p = ${fixed(p)}; theory expects a mean and a variance of ${expected}.`;
      const count = draws === 1 ? "1 draw" : `${whole(draws)} draws`;
      return `After ${count} at p = ${fixed(p)} the mean is ${fixed(mean)} and the variance ` +
        `${fixed(variance)}; theory expects ${expected}.`;
    }

    const rate = slider(part, "moments-p",
      { label: "drop probability p", max: 0.9, step: 0.05, value: 0.8 });
    for (const more of [1, 100, 10000]) {
      button(part, more === 1 ? "1 draw" : `${whole(more)} draws`, () => {
        draws = Math.min(most, draws + more);
        part.update();
      });
    }
    button(part, "Start again", () => { draws = 0; seed += 1; part.update(); });
    explain(part, [["drawn", "so far"], ["theory", "in theory"],
      ["funnel", "two standard errors either way"]]);
    part.update();
  }

  // Curves: what training at each p did, computed beforehand

  function curves(figure, { runs }) {
    const without = runs.find((run) => run.p === 0);
    const part = parts(figure, "Training and validation loss with and without dropout",
      (width) => {
        const p = rate();
        const chosen = runs.find((run) => Math.abs(run.p - p) < 0.01);
        part.clear(width, places(2, width, 280).total, sentence(p, chosen));
        const [first, second] = places(2, width, 280).all;
        const epochs = { from: 0, to: chosen.val_loss.length, label: "epoch" };
        epochs.ticks = [0, 25, 50, 75, 100];
        const training = axes(part.svg, first, "training loss (nats)", epochs,
          { from: 1e-3, to: 3, log: true, ticks: [0.001, 0.01, 0.1, 1] });
        const validation = axes(part.svg, second, "validation loss (nats)", epochs,
          { from: 0, to: 0.7, ticks: [0, 0.2, 0.4, 0.6] });
        for (const [run, look] of [[without, "without"], [chosen, "with"]]) {
          curve(training, run.train_loss, run.train_spread, look, " trained");
          curve(validation, run.val_loss, run.val_spread, look);
        }
        const cells = (run) => ({
          "lowest validation loss": [least(run), fixed(least(run), 3)],
          "at epoch": [epoch(run), `${epoch(run)}`],
          "last validation loss": [last(run.val_loss), fixed(last(run.val_loss), 3)],
          "last training loss": [last(run.train_loss), fixed(last(run.train_loss), 4)],
        });
        fill(part.table, [["no dropout", cells(without)], [`p\u00a0=\u00a0${fixed(p)}`, cells(chosen)]]);
      });

    function curve(plot, mean, spread, look, dashes = "") {
      const points = (shift) => mean.map((loss, i) =>
        [i + 1, Math.max(loss + shift * spread[i], 1e-4)]); // has a logarithm
      plot.band(points(1), points(-1), `${look}-spread`);
      plot.line(points(0), look + dashes);
    }

    function sentence(p, chosen) {
      const fall = (run) => `its lowest, ${fixed(least(run), 3)}, after epoch ${epoch(run)} ` +
        `and ends at ${fixed(last(run.val_loss), 3)}`;
      return `At p = ${fixed(p)} the validation loss reaches ${fall(chosen)}; ` +
        `without dropout it reaches ${fall(without)}.`;
    }

    const last = (losses) => losses[losses.length - 1];
    const least = (run) => Math.min(...run.val_loss);
    const epoch = (run) => run.val_loss.indexOf(least(run)) + 1;
    const rate = slider(part, "curves-p",
      { label: "drop probability p", max: 0.8, step: 0.1, value: 0.8 });
    explain(part, [["with", "with dropout"], ["without", "without"]]);
    part.update();
  }

  const figures = { network, distribution, moments, curves };
  const data = JSON.parse(document.getElementById("moving-data").textContent);
  for (const [name, numbers] of Object.entries(data)) {
    const figure = document.getElementById(`moving-${name}`);
    figures[name](figure, numbers);
    figure.classList.add("moves"); // takes the still picture away, now that the other is there
  }
})();
