// Makes the served browser client from its source: node minify.js SOURCE TARGET
import { readFileSync, writeFileSync } from "node:fs";
import { minify } from "rolldown/utils";

const [source, target] = process.argv.slice(2);
const made = await minify("headgate.js", readFileSync(source, "utf8"), { module: true });
if (made.errors?.length) throw new Error(JSON.stringify(made.errors));
writeFileSync(target, `// Headgate ${"\u00b7"} the source is headgate.js beside this file\n${made.code}\n`);
