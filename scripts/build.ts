/**
 * build.ts x64|arm64 BUN OUTFILE: compiles src/ into one binary for that architecture (glibc).
 * BUN is the bun of that architecture: it becomes the binary, it is not run.
 *
 * Three things that must hold:
 * - Bun reads .env and bunfig.toml of the *current directory* in a compiled binary unless told
 *   not to; a root daemon must not.
 * - src/sys imports the shim and koffi's addon from build/native/, this machine's own; here
 *   they are taken from build/native/<arch>/.
 * - The binary is never stripped: Bun keeps the program in a section that strip(1) drops, and
 *   what is left starts as the plain bun command line with exit status 0.
 */
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dir, "..");
/** Both threads' entries: a Worker's file must be an entry of its own to be in the binary. */
const ENTRIES = ["src/main.ts", "src/dataplane.ts"];

const [arch, runtime, outfile] = process.argv.slice(2);
if ((arch !== "x64" && arch !== "arm64") || runtime === undefined || outfile === undefined) {
  console.error("usage: build.ts x64|arm64 BUN OUTFILE");
  process.exit(2);
}
if (!existsSync(runtime)) {
  console.error(`Cannot build for ${arch}: ${runtime} is missing; make fetches it`);
  process.exit(1);
}
mkdirSync(dirname(outfile), { recursive: true });
const started = performance.now();
const result = await Bun.build({
  entrypoints: ENTRIES.map((entry) => join(ROOT, entry)),
  root: join(ROOT, "src"),
  target: "bun",
  // Names stay, for stack traces.
  minify: { whitespace: true, syntax: true },
  // Parsed at build time: the start takes two thirds of the time, and 1.7 MB of what parsing leaves behind are saved.
  bytecode: true,
  format: "esm",
  // A command's own modules apart from what others share, so that the daemon does not hold theirs: 0.7 MB.
  splitting: true,
  // dbus-next's optional ways to reach a bus, none of which is used: unix sockets with fd passing, X11's root window.
  external: ["x11", "usocket"],
  compile: {
    outfile: `${outfile}.new`,
    // With the target the bundler puts in that machine's process.arch, without it its own.
    target: arch === "arm64" ? "bun-linux-arm64" : "bun-linux-x64",
    executablePath: runtime,
    autoloadDotenv: false,
    autoloadBunfig: false,
    // A smaller heap for the control thread: it allocates little and seldom.
    execArgv: ["--smol"],
  },
  plugins: [
    {
      name: "native parts of the architecture",
      setup(build) {
        build.onResolve({ filter: /\/build\/native\/[^/]+$/ }, ({ path }) => ({
          path: join(ROOT, "build/native", arch, path.slice(path.lastIndexOf("/") + 1)),
        }));
      },
    },
  ],
});
for (const message of result.logs) console.error(message);
if (!result.success) process.exit(1);
renameSync(`${outfile}.new`, outfile);
const size = (statSync(outfile).size / 1e6).toFixed(1);
console.log(`built ${outfile}: ${arch}, ${size} MB, ${((performance.now() - started) / 1000).toFixed(1)} s`);
