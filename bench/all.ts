/** all.ts [FLAG]...: bench/run.ts (raw unix links), then each bench/<type>/run.ts in order of name, with the same flags. */
import { join } from "node:path";

const own = [...new Bun.Glob("*/run.ts").scanSync(import.meta.dir)].sort();
let worst = 0;
for (const file of ["run.ts", ...own]) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, file), ...process.argv.slice(2)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const code = await child.exited;
  if (code !== 0) console.error(`bench/${file} exited ${code}`);
  worst = Math.max(worst, code);
}
process.exit(worst);
