// The parts of Observable Plot that virnucpro/report/figures.js uses; the bundler leaves out everything else.
export {
  axisX, axisY, barX, dot, gridX, gridY, line, plot, pointer, pointerX, rect, rectY, ruleX, ruleY, text, tip,
} from "@observablehq/plot";
