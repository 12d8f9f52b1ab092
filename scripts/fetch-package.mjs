// node fetch-package.mjs NAME FOLDER: one npm package, unpacked into FOLDER, for machines other than
// this one (`bun install` brings only this machine's) and for bun itself before there is a bun.
// Version and sha512 are those of bun.lock, so nothing enters the build that the lock does not pin.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

const [name, folder] = process.argv.slice(2);
if (!name || !folder) {
  console.error("usage: node fetch-package.mjs NAME FOLDER");
  process.exit(2);
}
const lock = readFileSync(new URL("../bun.lock", import.meta.url), "utf8");
const entry = lock.split("\n").find((line) => line.trim().startsWith(`"${name}": [`));
const version = entry?.match(/\["[^"]+@([^"@]+)"/)?.[1];
const integrity = entry?.match(/"sha512-([^"]+)"/)?.[1];
if (!version || !integrity) {
  console.error(`Cannot fetch ${name}: bun.lock has no entry with a version and a sha512`);
  process.exit(1);
}
/** Tries of the download: name look-ups and slow mirrors fail now and then and work a moment later. */
const TRIES = 4;

function pack(into) {
  for (let attempt = 1; ; attempt++) {
    const options = [
      "pack",
      "--silent",
      "--prefer-offline",
      "--fetch-timeout=600000",
      "--fetch-retries=0",
      "--pack-destination",
      into,
      `${name}@${version}`,
    ];
    try {
      execFileSync("npm", options, { stdio: ["ignore", "ignore", "inherit"] });
      return;
    } catch (error) {
      if (attempt === TRIES) throw error;
      console.error(`npm pack ${name} failed, try ${attempt} of ${TRIES}; again in ${5 * attempt} s`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000 * attempt);
    }
  }
}

mkdirSync(dirname(folder), { recursive: true });
const work = mkdtempSync(`${folder}.new-`);
try {
  console.log(`fetching ${name} ${version}`);
  pack(work);
  const archive = join(work, readdirSync(work).find((file) => file.endsWith(".tgz")) ?? "missing.tgz");
  const found = createHash("sha512").update(readFileSync(archive)).digest("base64");
  if (found !== integrity) throw new Error(`sha512 is ${found}, bun.lock says ${integrity}`);
  execFileSync("tar", ["-xzf", archive, "-C", work, "--no-same-owner", "package"]);
  rmSync(folder, { recursive: true, force: true });
  renameSync(join(work, "package"), folder);
} catch (error) {
  console.error(`Cannot fetch ${name}@${version}: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
