// Charts are drawn from the table that stands below them: <figure data-chart="bars"> with one table in it.
// Rows are points (their first cell is the name), further columns are series; data-value holds the exact number.
// Of <figure data-chart="graph"> a row is a link: two cells with data-node, and the weight of the link at the row.
// data-mark at a row names something that changed then.
import { BarChart, GraphChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([
  AriaComponent, BarChart, CanvasRenderer, GraphChart, GridComponent, LineChart, MarkLineComponent, TooltipComponent,
]);

const drawn = new Map();

function numbersOf(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  return {
    names: rows.map((row) => row.cells[0].textContent.trim()),
    series: heads.map((head, place) => ({
      name: head.textContent.trim(),
      colour: head.dataset.colour,
      values: rows.map((row) => Number(row.cells[place + 1].dataset.value ?? row.cells[place + 1].textContent)),
    })),
  };
}

const SYMBOLS = { critical: "diamond", high: "triangle", medium: "rect", low: "circle", informational: "emptyCircle" };
const ROW = 26; // pixels between nodes of a layer
const ROWS_MAX = 40;
const WIDTH_MIN = 520; // on a narrower page the table tells more than the picture
const LABEL = 46; // characters of a label that are drawn; the whole of it is in the table

function layersOf(table) {
  const nodes = new Map();
  const links = [];
  for (const row of table.tBodies[0].rows) {
    const ends = [...row.querySelectorAll("td[data-node]")].map((cell) => {
      const { node: id, layer, kind, label, level, href, bad } = cell.dataset;
      const known = nodes.get(id);
      // What is reached first decides where it stands.
      if (!known) nodes.set(id, { id, layer: Number(layer), kind, label, level, href, bad: bad !== undefined, near: [] });
      return nodes.get(id);
    });
    if (ends.length < 2) continue;
    ends[0].near.push(ends[1]);
    ends[1].near.push(ends[0]);
    links.push({ ends, weight: Number(row.dataset.weight), why: row.cells[3]?.textContent.trim() ?? "" });
  }
  const layers = [];
  for (const node of nodes.values()) (layers[node.layer] ??= []).push(node);
  return { layers: layers.filter(Boolean), links };
}

// Each layer is put into the order of what its nodes are linked with, twice forth and back: few links cross then.
function arrange(layers) {
  const number = () => { for (const layer of layers) layer.forEach((node, place) => { node.place = place / layer.length; }); };
  number();
  for (let round = 0; round < 4; round += 1) {
    for (const layer of round % 2 ? [...layers].reverse() : layers) {
      const middle = (node) => node.near.reduce((sum, other) => sum + other.place, 0) / (node.near.length || 1);
      const places = new Map(layer.map((node) => [node, middle(node)]));
      layer.sort((one, other) => places.get(one) - places.get(other));
      layer.forEach((node, place) => { node.place = place / layer.length; });
    }
  }
}

// The style sheet gives the place of a graph its height by the number of its rows.
function rowsOf(table) {
  const most = Math.max(1, ...layersOf(table).layers.map((layer) => layer.length));
  return String(Math.min(ROWS_MAX, Math.max(5, most + 1)));
}

function graphOf(place, table, colour, font) {
  const { layers, links } = layersOf(table);
  arrange(layers);
  const height = place.clientHeight;
  const wide = place.clientWidth;
  // Room for the labels of the outer layers.
  const beside = layers.length > 2 ? Math.min(240, wide * 0.22) : Math.min(340, wide * 0.36);
  const x = (at) => layers.length < 2 ? wide / 2 : beside + ((wide - 2 * beside) * at) / (layers.length - 1);
  const heaviest = Math.max(1e-9, ...links.map((link) => link.weight));
  const cut = (text) => text.length > LABEL ? `${text.slice(0, LABEL - 1)}…` : text;
  const data = layers.flatMap((layer, at) => layer.map((node, row) => ({
    id: node.id,
    name: node.id,
    x: x(at),
    y: ((row + 0.5) * height) / layer.length,
    symbol: SYMBOLS[node.level] ?? "roundRect",
    symbolSize: 12,
    href: node.href,
    whole: node.kind === "detection" ? node.label : `${node.kind} ${node.label}`,
    itemStyle: {
      color: node.bad ? colour("--critical") : node.level ? colour(`--${node.level}`) : colour("--paper"),
      borderColor: node.bad ? colour("--critical") : node.level ? colour(`--${node.level}`) : colour("--edge"),
      borderWidth: 2,
    },
    label: {
      show: true,
      position: at === 0 ? "left" : "right",
      // Links may run behind a label: a rim keeps it readable, and the link unbroken.
      textBorderColor: colour("--paper"),
      textBorderWidth: 3,
      formatter: cut(node.label),
      width: (at === 0 || at === layers.length - 1 ? beside : (wide - 2 * beside) / 2) - 48,
      overflow: "truncate",
      color: colour("--ink"),
      fontFamily: font,
      fontSize: 12,
      distance: 8,
    },
  })));
  return {
    animation: false,
    aria: { enabled: false },
    tooltip: {
      renderMode: "richText",
      backgroundColor: colour("--raised"),
      borderColor: colour("--edge"),
      textStyle: { color: colour("--ink"), fontSize: 12, width: 420, overflow: "break" },
      formatter: (point) => point.data.whole ?? "",
    },
    series: [{
      type: "graph",
      layout: "none",
      left: 0, top: 0, width: wide, height,
      // Two nodes in the corners keep the picture at the scale of the page.
      data: [...data, { id: "-a", name: "-a", x: 0, y: 0, symbolSize: 0, label: { show: false } },
        { id: "-b", name: "-b", x: wide, y: height, symbolSize: 0, label: { show: false } }],
      links: links.map(({ ends, weight, why }) => ({
        source: ends[0].id,
        target: ends[1].id,
        whole: why,
        lineStyle: {
          width: 1 + (2.5 * weight) / heaviest,
          color: colour("--edge"),
          opacity: 0.35 + (0.5 * weight) / heaviest,
          curveness: 0,
        },
      })),
      emphasis: { focus: "adjacency" },
      labelLayout: { hideOverlap: false },
    }],
  };
}

function optionsOf(figure, table) {
  const styles = getComputedStyle(document.documentElement);
  const colour = (name) => styles.getPropertyValue(name).trim();
  if (figure.dataset.chart === "graph") {
    return graphOf(figure.querySelector(".chart"), table, colour, getComputedStyle(document.body).fontFamily);
  }
  const { names, series } = numbersOf(table);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  return {
    animation: !still,
    animationDuration: 120,
    aria: { enabled: true },
    grid: { left: 8, right: 8, top: 28, bottom: 4, containLabel: true },
    textStyle: { color: colour("--soft"), fontFamily: getComputedStyle(document.body).fontFamily },
    tooltip: {
      trigger: "axis",
      renderMode: "richText", // the other mode writes inline styles
      backgroundColor: colour("--raised"),
      borderColor: colour("--edge"),
      textStyle: { color: colour("--ink"), fontSize: 12 },
    },
    xAxis: {
      type: "category",
      data: names,
      axisLine: { lineStyle: { color: colour("--edge") } },
      axisTick: { show: false },
      axisLabel: { color: colour("--soft"), hideOverlap: true },
    },
    yAxis: {
      type: "value",
      min: 0,
      minInterval: 1,
      name: figure.dataset.unit ?? "",
      nameTextStyle: { color: colour("--soft"), align: "left" },
      splitLine: { lineStyle: { color: colour("--line") } },
      axisLabel: { color: colour("--soft") },
    },
    series: series.map((one) => ({
      name: one.name,
      type: figure.dataset.chart === "line" ? "line" : "bar",
      stack: figure.dataset.chart === "bars" ? "all" : undefined,
      data: one.values,
      barMaxWidth: 24,
      symbol: "none",
      itemStyle: { color: colour(one.colour ?? "--edge") },
      lineStyle: { width: 2, color: colour(one.colour ?? "--edge") },
      markLine: one === series[0] ? changesOf(table, colour) : undefined,
    })),
  };
}

// What changed, where it happened: thin lines with numbers, which the list beneath the chart explains.
function changesOf(table, colour) {
  const rows = [...table.tBodies[0].rows].filter((row) => row.dataset.mark);
  if (!rows.length) return undefined;
  return {
    symbol: "none",
    silent: true,
    animation: false,
    lineStyle: { color: colour("--ink"), type: "solid", width: 1 },
    label: { color: colour("--ink"), fontSize: 11, formatter: (line) => line.data.said },
    data: rows.map((row) => ({ xAxis: row.cells[0].textContent.trim(), said: row.dataset.mark })),
  };
}

function draw(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    const table = figure.querySelector("table");
    const place = figure.querySelector(".chart");
    if (!table || !place) continue;
    place.hidden = false;
    const isGraph = figure.dataset.chart === "graph";
    if (isGraph) place.dataset.rows = rowsOf(table);
    if (isGraph && place.clientWidth < WIDTH_MIN) {
      place.hidden = true;
      continue;
    }
    let chart = drawn.get(place);
    if (!chart) {
      chart = init(place, null, { renderer: "canvas" });
      drawn.set(place, chart);
      new ResizeObserver(() => {
        if (!place.clientWidth || !place.clientHeight) return;
        chart.resize();
        if (isGraph) chart.setOption(optionsOf(figure, table), true);
      }).observe(place);
      chart.on("click", (point) => {
        if (point.data?.href) document.dispatchEvent(new CustomEvent("mingjian:open", { detail: point.data.href }));
      });
    }
    chart.setOption(optionsOf(figure, table), true);
    const details = figure.querySelector("details");
    if (details) details.open = false;
  }
}

function redraw() {
  for (const [place, chart] of drawn) {
    if (place.isConnected) continue;
    chart.dispose();
    drawn.delete(place);
  }
  draw(document);
}

redraw();
document.addEventListener("mingjian:changed", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("print").addEventListener("change", redraw);
