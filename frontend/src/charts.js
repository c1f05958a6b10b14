// Charts are drawn from the table that stands below them: <figure data-chart="bars"> with one table in it.
// Rows are points (their first cell is the name), further columns are series; data-value holds the exact number.
import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, TooltipComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([AriaComponent, BarChart, CanvasRenderer, GridComponent, LineChart, TooltipComponent]);

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

function optionsOf(figure, table) {
  const styles = getComputedStyle(document.documentElement);
  const colour = (name) => styles.getPropertyValue(name).trim();
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
    })),
  };
}

function draw(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    const table = figure.querySelector("table");
    const place = figure.querySelector(".chart");
    if (!table || !place) continue;
    place.hidden = false;
    let chart = drawn.get(place);
    if (!chart) {
      chart = init(place, null, { renderer: "canvas" });
      drawn.set(place, chart);
      new ResizeObserver(() => chart.resize()).observe(place);
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
