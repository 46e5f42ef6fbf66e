"use strict";
// Draw the figures with Observable Plot in place of the static drawings, and export them.
(() => {
  const node = document.querySelector("#data");
  if (!node || typeof Plot === "undefined") return;
  const data = JSON.parse(node.textContent);
  // Attributes hold the colours of paper and of exported files; page.css gives those of the screen by class.
  const COLOURS = {virus: "#b5472a", other: "#7d97a8", none: "#c9c4ba", quiet: "#566068", ink: "#1d2327"};
  const filled = (name, more) => ({fill: COLOURS[name], className: `fill-${name}`, ...more});
  const stroked = (name, more) => ({stroke: COLOURS[name], className: `stroke-${name}`, ...more});
  const count = (n) => n.toLocaleString("en-US");
  const number = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
  const percent = (share) => `${+(share * 100).toPrecision(3)} %`;
  const nt = (n) => n < 1e3 ? `${n} nt` : n < 999500 ? `${+(n / 1e3).toPrecision(3)} kb` : `${+(n / 1e6).toPrecision(3)} Mb`;
  const frame = (width, more) => ({width, className: "plot", marginLeft: 46, marginRight: 14, marginTop: 18, ...more});
  const rows = (width, number, height, more) => frame(width, {
    marginLeft: 14, marginRight: 20, marginTop: 4, marginBottom: 42, height: number * height + 46,
    y: {axis: null, domain: [0, number], range: [number * height + 4, 4]}, ...more,
  });

  const draw = {
    calls({bins, threshold, classes}, width) {
      const bars = [], marks = [], names = [], tips = [];
      const row = Math.max(58, Math.min(180, 300 / classes.length)), high = 1 - 22 / row; // the rest is for the name
      classes.forEach((one, i) => {
        const base = classes.length - i - 0.94;
        const total = one.other.map((n, k) => n + one.virus[k]), most = Math.max(...total);
        const sum = (list) => list.reduce((a, b) => a + b, 0);
        names.push({x: 0, y: base + high + 11 / row, text: `${one.name}: ${number(sum(total), "record")}, ${count(sum(one.virus))} virus`});
        const mark = threshold ?? one.lowest;
        if (mark !== null) marks.push({x: mark, y1: base, y2: base + high});
        total.forEach((_, k) => {
          let below = base;
          for (const kind of ["other", "virus"]) {
            if (!one[kind][k]) continue;
            const height = Math.max(one[kind][k] / most * high, 1.5 / row); // so that a single record is visible
            bars.push({kind, x1: k / bins, x2: (k + 1) / bins, y1: below, y2: below += height});
          }
          if (total[k]) tips.push({x: (k + 0.5) / bins, y: below, title:
            `score ${k / bins} to ${(k + 1) / bins}, ${one.name}\n${count(one.virus[k])} virus\n${count(one.other[k])} other`});
        });
      });
      const bar = (kind) => Plot.rect(bars.filter((d) => d.kind === kind),
        filled(kind, {x1: "x1", x2: "x2", y1: "y1", y2: "y2", insetLeft: 0.5, insetRight: 0.5}));
      return Plot.plot(rows(width, classes.length, row, {
        x: {domain: [0, 1], label: "virus score", ticks: [0, 0.25, 0.5, 0.75, 1], tickFormat: String, labelAnchor: "center", labelArrow: "none"},
        marks: [
          Plot.ruleY(classes, stroked("quiet", {y: (_, i) => classes.length - i - 0.94})),
          bar("other"), bar("virus"),
          Plot.ruleX(marks, stroked("ink", {x: "x", y1: "y1", y2: "y2", strokeDasharray: "4 3"})),
          Plot.text(names, {x: "x", y: "y", text: "text", textAnchor: "start", fontSize: 12}),
          Plot.tip(tips, Plot.pointer({x: "x", y: "y", title: "title", maxRadius: 60})),
        ],
      }));
    },

    fdr({points, chosen, upper}, width) {
      const last = points[points.length - 1];
      const title = ([n, rate]) => `${number(n, "record")}\nfalse discovery rate ${percent(rate)}\nabout ${count(Math.round(n * rate))} of them false`;
      const most = Math.max(chosen[0], last[0]);
      return Plot.plot(frame(width, {
        height: 300, marginBottom: 40, marginRight: 24,
        x: {domain: [0, most], label: "records, those with the lowest rate first", labelAnchor: "center", labelArrow: "none",
          ticks: Math.min(most, Math.max(2, Math.floor(width / 110))), tickFormat: count},
        y: {domain: [0, Math.max(chosen[1], last[1], 0.001)], label: "false discovery rate", grid: true, ticks: 5, tickFormat: percent,
          labelArrow: "none"},
        marks: [
          Plot.line(points, stroked("virus", {x: "0", y: "1", strokeWidth: 2})),
          Plot.ruleX([chosen], stroked("quiet", {x: "0", y1: 0, y2: "1", strokeDasharray: "4 3"})),
          Plot.dot([chosen], filled("virus", {x: "0", y: "1", r: 5})),
          Plot.text([chosen], {frameAnchor: "bottom-right", dx: -4, dy: -10, fontSize: 12, fontWeight: 600,
            text: ([n, rate]) => `● this run: ${number(n, "hit")}, ${upper ? "at most " : ""}${percent(rate)} false`}),
          Plot.tip(points, Plot.pointerX({x: "0", y: "1", title})),
        ],
      }));
    },

    contigs({from, lengths, rows: steps, cells}, width) {
      const most = Math.max(...cells.map(([, , other, virus]) => other + virus));
      const squares = cells.map(([column, row, other, virus]) => ({
        x1: lengths[column], x2: lengths[column + 1], y1: row / steps, y2: (row + 1) / steps, kind: virus >= other ? "virus" : "other",
        shade: 0.35 + 0.65 * Math.log1p(other + virus) / Math.log1p(most),
        x: Math.sqrt(lengths[column] * lengths[column + 1]), y: (row + 0.5) / steps,
        title: `${nt(lengths[column])} to ${nt(lengths[column + 1])}, score ${+(row / steps).toFixed(2)} to ${+((row + 1) / steps).toFixed(2)}\n` +
          `${count(virus)} virus\n${count(other)} other`,
      }));
      const hits = (window.hits ?? []).filter((hit) => hit.length >= from)
        .map((hit) => ({x: hit.length, y: hit.virus_score, title: `${hit.seq_name}\n${count(hit.length)} nt\nvirus score ${hit.virus_score}`}));
      const square = (kind) => Plot.rect(squares.filter((d) => d.kind === kind),
        filled(kind, {x1: "x1", x2: "x2", y1: "y1", y2: "y2", fillOpacity: "shade"}));
      const decades = Math.log10(lengths[lengths.length - 1] / lengths[0]);
      return Plot.plot(frame(width, {
        height: 300, marginBottom: 40,
        x: {type: "log", domain: [lengths[0], lengths[lengths.length - 1]], label: "length", labelAnchor: "center", labelArrow: "none",
          ticks: [1, 2, 5].filter((k) => k === 1 || decades < (width < 420 ? 1.5 : 3)).flatMap((k) => Array.from({length: 8}, (_, i) => k * 10 ** (i + 3)))
            .filter((x) => x >= lengths[0] && x <= lengths[lengths.length - 1]), tickFormat: nt},
        y: {domain: [0, 1], label: "virus score", grid: true, ticks: 5, labelArrow: "none"},
        opacity: {type: "identity"},
        marks: [
          square("other"), square("virus"),
          Plot.dot(hits, {x: "x", y: "y", r: 2.5, stroke: COLOURS.ink, className: "stroke-ink", strokeWidth: 1}),
          Plot.tip([...hits, ...squares], Plot.pointer({x: "x", y: "y", title: "title", maxRadius: 30})),
        ],
      }));
    },

    files(list, width) {
      const bars = [], names = [], tips = [];
      list.forEach(([name, other, virus, none], i) => {
        const base = list.length - i - 0.92, total = other + virus + none;
        let x = 0;
        names.push({y: base + 0.6, text: `${name}: ${number(total, "record")}, ${percent(virus / total)} virus`});
        for (const [kind, number, words] of [["virus", virus, "virus"], ["other", other, "other"], ["none", none, "not called"]]) {
          if (!number) continue;
          const next = x + number / total;
          bars.push({kind, x1: x, x2: next, y1: base, y2: base + 0.42});
          tips.push({x: (x + next) / 2, y: base + 0.21, title: `${name}\n${count(number)} ${words}, ${percent(number / total)}`});
          x = next;
        }
      });
      const bar = (kind) => Plot.rect(bars.filter((d) => d.kind === kind), filled(kind, {x1: "x1", x2: "x2", y1: "y1", y2: "y2"}));
      return Plot.plot(rows(width, list.length, 44, {
        x: {domain: [0, 1], label: "share of the records", ticks: [0, 0.25, 0.5, 0.75, 1], tickFormat: percent, labelAnchor: "center",
          labelArrow: "none"},
        marks: [
          bar("virus"), bar("other"), bar("none"),
          Plot.text(names, {x: 0, y: "y", text: "text", textAnchor: "start", fontSize: 12}),
          Plot.tip(tips, Plot.pointer({x: "x", y: "y", title: "title", maxRadius: 200})),
        ],
      }));
    },

    composition(list, width) {
      const classes = list.map(([name, share, low, high], i) => ({name, share, low, high, y: list.length - i - 0.5,
        title: `${name}\n${percent(share)}, between ${percent(low)} and ${percent(high)}`}));
      const bar = (kind) => Plot.rect(classes.filter((d) => (d.name === "virus") === (kind === "virus")),
        filled(kind, {x1: 0, x2: "share", y1: (d) => d.y - 0.33, y2: (d) => d.y + 0.33}));
      return Plot.plot(rows(width, list.length, 26, {
        marginLeft: 104, marginRight: 14,
        x: {domain: [0, Math.max(...list.map((one) => one[3])) || 1], label: "share of the records", grid: true, ticks: Math.max(2, Math.floor(width / 110)),
          tickFormat: percent, labelAnchor: "center", labelArrow: "none"},
        marks: [
          bar("virus"), bar("other"),
          Plot.ruleY(classes, stroked("ink", {x1: "low", x2: "high", y: "y", strokeWidth: 1.5})),
          Plot.text(classes, {frameAnchor: "left", y: "y", text: "name", textAnchor: "end", dx: -6, fontSize: 12}),
          Plot.tip(classes, Plot.pointer({x: "share", y: "y", title: "title", maxRadius: 200})),
        ],
      }));
    },
  };

  const made = (name, width) => {
    const svg = draw[name](data[name], width);
    svg.querySelector("style")?.remove(); // the page's policy forbids it; page.css has its rules
    svg.setAttribute("role", "img");
    return svg;
  };
  const KEYS = {calls: ["virus", "other"], contigs: ["virus", "other"], files: ["virus", "other", "none"]};
  const exported = (name, figure) => {
    const width = 720, svg = made(name, width), plotted = Number(svg.getAttribute("height"));
    const keys = KEYS[name] ?? [], height = plotted + (keys.length && 24);
    const part = (tag, attributes, words = "") => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      node.textContent = words;
      return node;
    };
    svg.prepend(
      part("title", {}, `${document.querySelector("h1").textContent}: ${figure.querySelector("h3").textContent}`),
      part("rect", {width, height, fill: "#fff"}),
    );
    keys.forEach((kind, i) => svg.append(
      part("rect", {x: 16 + i * 100, y: plotted + 4, width: 11, height: 11, fill: COLOURS[kind]}),
      part("text", {x: 32 + i * 100, y: plotted + 14, "font-size": 12}, kind === "none" ? "not called" : `called ${kind}`),
    ));
    const root = {height, viewBox: `0 0 ${width} ${height}`, "font-family": "sans-serif", "font-size": 11, color: COLOURS.ink, fill: COLOURS.ink};
    for (const [key, value] of Object.entries(root)) svg.setAttribute(key, value);
    return {text: new XMLSerializer().serializeToString(svg), width, height};
  };
  const save = {
    async svg(name, figure) {
      return new Blob([exported(name, figure).text], {type: "image/svg+xml"});
    },
    async png(name, figure) {
      const {text, width, height} = exported(name, figure), image = new Image(), canvas = document.createElement("canvas");
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
      await image.decode();
      [canvas.width, canvas.height] = [2 * width, 2 * height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      return new Promise((done) => canvas.toBlob(done, "image/png"));
    },
  };

  for (const figure of document.querySelectorAll("figure[data-figure]")) {
    const name = figure.dataset.figure, live = document.createElement("div"), tools = document.createElement("div");
    live.className = "live";
    tools.className = "tools";
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind.toUpperCase();
      button.title = `Save this figure as ${kind.toUpperCase()}`;
      button.addEventListener("click", async () => download(`${name}.${kind}`, await save[kind](name, figure)));
      tools.append(button);
    }
    figure.querySelector("figcaption").prepend(tools);
    figure.append(live);
    figure.classList.add("drawn");
    const label = figure.querySelector("svg.static").getAttribute("aria-label");
    let drawn = 0;
    new ResizeObserver(() => {
      const width = Math.floor(live.clientWidth);
      if (!width || width === drawn) return; // width 0: it is hidden, as on paper
      drawn = width;
      const svg = made(name, width);
      svg.setAttribute("aria-label", label);
      live.replaceChildren(svg);
    }).observe(live);
  }
})();
