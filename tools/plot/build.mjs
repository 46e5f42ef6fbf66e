// Build virnucpro/report/plot.js from the versions in package-lock.json; `make plot` runs it.
import { build } from "esbuild";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const output = new URL("../../virnucpro/report/plot.js", import.meta.url);
const { outputFiles, metafile } = await build({
  entryPoints: ["entry.js"], bundle: true, minify: true, format: "iife", globalName: "Plot", target: "es2020",
  charset: "ascii", legalComments: "none", metafile: true, write: false,
});

const [{ inputs }] = Object.values(metafile.outputs);
const used = Object.keys(inputs).filter((path) => inputs[path].bytesInOutput > 0);
const packages = new Set(used.map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean));
const licences = new Map(); // text of a licence -> the packages that have it
for (const name of [...packages].sort()) {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  if (!file) throw new Error(`${name} has no licence file`);
  const text = readFileSync(`${folder}/${file}`, "utf8").trim();
  licences.set(text, [...(licences.get(text) ?? []), `${name} ${version}`]);
}
const parts = [...licences].map(([text, names]) => `${names.join(", ")}\n\n${text}`);
const notice = parts.join(`\n\n${"-".repeat(20)}\n\n`);
if (notice.includes("*/")) throw new Error("a licence would end the comment");
writeFileSync(output, `/*!\n${notice}\n*/\n${outputFiles[0].text}`);
console.log(`${output.pathname}: ${packages.size} packages, ${outputFiles[0].text.length} bytes`);
