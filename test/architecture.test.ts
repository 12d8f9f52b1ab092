/**
 * The house rules of docs/architecture.md, read off the code: which room may import what, where the
 * clock and the process may be touched, and that the data plane stays synchronous.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const SRC = join(import.meta.dir, "../src");

interface Import {
  readonly name: string;
  /** `import type` and `export type`: gone after transpiling, but still knowledge of another room. */
  readonly typeOnly: boolean;
  /** The imported file from src/, for relative imports. */
  readonly file: string | undefined;
}

interface Source {
  readonly file: string;
  readonly room: string;
  readonly imports: readonly Import[];
  /** JavaScript without comments, types and string contents: what runs. */
  readonly code: string;
}

const transpiler = new Bun.Transpiler({ loader: "ts", target: "bun" });

function importsOf(file: string, text: string): Import[] {
  const found: Import[] = [];
  const statement =
    /^\s*(?:import|export)\b(?<clause>[^;"']*?)\bfrom\s*["'](?<from>[^"']+)["']|(?:^|;)\s*import\s*["'](?<bare>[^"']+)["']|\b(?:import|require)\(\s*["'](?<called>[^"']+)["']/gm;
  for (const { groups } of text.matchAll(statement)) {
    const name = groups?.["from"] ?? groups?.["bare"] ?? groups?.["called"] ?? "";
    const typeOnly = /^\s+type\b/.test(groups?.["clause"] ?? "");
    found.push({
      name,
      typeOnly,
      file: name.startsWith(".") ? relative(SRC, join(SRC, dirname(file), name)) : undefined,
    });
  }
  return found;
}

function withoutStrings(code: string): string {
  return code.replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""').replace(/`(?:[^`\\$]|\\.|\$(?!\{))*`/g, "``");
}

const sources = new Map<string, Source>(
  readdirSync(SRC, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
    .map((file) => {
      const text = readFileSync(join(SRC, file), "utf8");
      const source = {
        file,
        room: file.includes("/") ? (file.split("/")[0] as string) : "",
        imports: importsOf(file, text),
        code: withoutStrings(transpiler.transformSync(text)),
      };
      return [file, source];
    }),
);

const inRoom = (...rooms: readonly string[]) => [...sources.values()].filter(({ room }) => rooms.includes(room));

/** "file imports name" of every import that the rule refuses. */
function refused(files: readonly Source[], rule: (item: Import, from: Source) => boolean): string[] {
  return files.flatMap((from) =>
    from.imports.filter((item) => rule(item, from)).map(({ name }) => `${from.file} imports ${name}`),
  );
}

/** Every file that runs when `entry` is loaded. */
function reached(entry: string): Source[] {
  const seen = new Set<string>();
  const visit = (file: string) => {
    const source = sources.get(file);
    if (source === undefined || seen.has(file)) return;
    seen.add(file);
    for (const item of source.imports) if (item.file !== undefined && !item.typeOnly) visit(item.file);
  };
  visit(entry);
  return [...seen].map((file) => sources.get(file) as Source);
}

const PURE_FILES = ["reconcile/plan.ts", "reconcile/link-state.ts", "reconcile/backoff.ts"];
const pure = () =>
  [...sources.values()].filter(
    ({ room, file }) => room === "protocol" || room === "policy" || PURE_FILES.includes(file),
  );
/** Globals that read a clock, the world or the process, or say something to it. */
const IMPURE_CODE =
  /\b(?:Date\.now|new Date\(\)|performance\.|process\.|Bun\.|console\.|setTimeout|setInterval|setImmediate|queueMicrotask|Math\.random|crypto\.|fetch\()/;

describe("the rooms of src/", () => {
  test("are read at all: an empty list would make every rule below hold", () => {
    expect(sources.size).toBeGreaterThan(20);
    for (const room of ["sys", "relay", "policy", "protocol", "graph", "mediators"])
      expect(inRoom(room).length).toBeGreaterThan(0);
    expect(
      importsOf(
        "relay/x.ts",
        'import type { A } from "../graph/link.ts";\nexport {\n b,\n} from "./y.ts";\nimport("bun:ffi");',
      ),
    ).toEqual([
      { name: "../graph/link.ts", typeOnly: true, file: "graph/link.ts" },
      { name: "./y.ts", typeOnly: false, file: "relay/y.ts" },
      { name: "bun:ffi", typeOnly: false, file: undefined },
    ]);
  });

  test("import files that are there, by their whole name", () => {
    const broken = refused(
      [...sources.values()],
      ({ file }) => file !== undefined && !file.startsWith("..") && !existsSync(join(SRC, file)),
    );
    expect(broken).toEqual([]);
  });

  test("only sys/ touches bun:ffi and koffi", () => {
    const outside = [...sources.values()].filter(({ room }) => room !== "sys");
    expect(refused(outside, ({ name }) => name === "bun:ffi" || /^(?:@koromix\/)?koffi/.test(name))).toEqual([]);
  });

  test("sys/ imports nothing of the rooms above it", () => {
    expect(
      refused(
        inRoom("sys"),
        ({ file }) => file !== undefined && !file.startsWith("sys/") && !file.startsWith("../build/native/"),
      ),
    ).toEqual([]);
  });

  test("relay/ knows no protocol, policy or mediator, not even their types", () => {
    expect(refused(inRoom("relay"), ({ file }) => file !== undefined && !/^(?:relay|sys)\//.test(file))).toEqual([]);
  });

  test("inject/ knows nothing of links' types, policy or reconciling, and of the relay the filter contract's types", () => {
    const above = ({ file, typeOnly }: Import) =>
      /^(?:policy|protocol|mediators|reconcile|cli)\//.test(file ?? "") ||
      (/^relay\//.test(file ?? "") && !(typeOnly && file === "relay/filter.ts"));
    expect(refused(inRoom("inject"), above)).toEqual([]);
  });

  test("no mediator imports another", () => {
    const other = (item: Import, from: Source) => {
      const own = /^mediators\/([^/]+)\//.exec(from.file)?.[1];
      const target = /^mediators\/([^/]+)\//.exec(item.file ?? "")?.[1];
      return own !== undefined && target !== undefined && own !== target;
    };
    expect(refused(inRoom("mediators"), other)).toEqual([]);
  });

  test("nothing but the composition roots imports cli/, and no room imports a composition root", () => {
    const roots = ["main.ts", "daemon.ts", "dataplane.ts"];
    const below = [...sources.values()].filter(({ room, file }) => room !== "cli" && !roots.includes(file));
    expect(refused(below, ({ file }) => /^cli\//.test(file ?? ""))).toEqual([]);
    expect(refused(below, ({ file }) => roots.includes(file ?? ""))).toEqual([]);
  });

  test("protocol/, policy/ and the pure part of reconcile/ import nothing of node, bun, koffi, sys or observe", () => {
    const impure = ({ name, file, typeOnly }: Import) =>
      /^(?:node:|bun(?::|$)|(?:@koromix\/)?koffi)/.test(name) ||
      (!typeOnly && /^(?:sys|observe|inject|relay|mediators|cli)\//.test(file ?? ""));
    const files = new Set(pure().flatMap(({ file }) => reached(file)));
    expect(refused([...files], impure)).toEqual([]);
  });

  test("what they run reads no clock, no process and no chance, through whatever they import", () => {
    const files = new Set(pure().flatMap(({ file }) => reached(file)));
    const found = [...files].flatMap(({ file, code }) =>
      IMPURE_CODE.test(code) ? [`${file} uses ${IMPURE_CODE.exec(code)?.[0]}`] : [],
    );
    expect(found).toEqual([]);
  });

  test("valibot stands only where foreign data enters: graph, policy schemas, state file, command line and answers", () => {
    const foreign =
      /^(?:graph|cli|json)\/|(?:^|[/-])schema\.ts$|^policy\/(?:role-entry|merge)\.ts$|^inject\/journal-lines\.ts$/;
    const inside = [...sources.values()].filter(({ file }) => !foreign.test(file));
    expect(refused(inside, ({ name, typeOnly }) => name === "valibot" && !typeOnly)).toEqual([]);
  });

  test("only main.ts ends the process", () => {
    const ending = [...sources.values()].filter(
      ({ file, code }) => file !== "main.ts" && /\bprocess\.(?:exit|abort|reallyExit)\b/.test(code),
    );
    expect(ending.map(({ file }) => file)).toEqual([]);
  });

  test("the data plane's thread runs synchronous code: no promise, no await, no timer of Bun's, no socket of Bun's", () => {
    const thread = reached("dataplane.ts");
    expect(thread.length).toBeGreaterThan(5);
    const waiting = /\b(?:async\b|await\b|new Promise|Promise\.|setTimeout|setInterval|Bun\.(?:connect|listen|serve))/;
    expect(
      thread.flatMap(({ file, code }) => (waiting.test(code) ? [`${file} uses ${waiting.exec(code)?.[0]}`] : [])),
    ).toEqual([]);
    expect(refused(thread, ({ name, typeOnly }) => !typeOnly && /^node:(?:net|http|dgram|timers)/.test(name))).toEqual(
      [],
    );
  });

  test("no file is called for what it is not", () => {
    expect(
      [...sources.keys()].filter((file) => /(?:^|[/-])(?:utils?|helpers?|common|misc|manager)(?:[/.-]|$)/.test(file)),
    ).toEqual([]);
  });
});
