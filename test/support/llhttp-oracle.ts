/** Asks Node's HTTP parser how it reads bytes. One child for a whole test file; cases go over in batches. */
import { join } from "node:path";

export interface OracleMessage {
  readonly method?: string;
  readonly url?: string;
  readonly status?: number;
  readonly version: string;
  readonly upgrade: boolean;
  readonly body: number;
  readonly complete: boolean;
  /** The fields that read as identity, "name: value" each, names in small letters with "-". */
  readonly headers: readonly string[];
  readonly trailers: readonly string[];
}
export interface OracleAnswer {
  readonly messages: readonly OracleMessage[];
  readonly error: string | null;
  /** Bytes that were not parsed, behind an upgrade. */
  readonly rest: number;
}
export interface OracleCase {
  readonly kind: "requests" | "responses";
  /** Which of the final responses answer HEAD. */
  readonly heads?: readonly number[];
  readonly bytes: Uint8Array;
}

export class LlhttpOracle {
  private readonly child = Bun.spawn(["node", join(import.meta.dir, "llhttp-oracle.cjs")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  private readonly reader = this.child.stdout.getReader();
  private readonly decoder = new TextDecoder();
  private rest = "";

  async ask(cases: readonly OracleCase[]): Promise<OracleAnswer[]> {
    for (const { kind, heads = [], bytes } of cases) {
      const prefix = Buffer.alloc(6 + heads.length);
      prefix.writeUInt32LE(2 + heads.length + bytes.length, 0);
      prefix[4] = kind === "requests" ? 0 : 1;
      prefix[5] = heads.length;
      prefix.set(heads, 6);
      this.child.stdin.write(prefix);
      this.child.stdin.write(bytes);
    }
    this.child.stdin.flush();
    const answers: OracleAnswer[] = [];
    while (answers.length < cases.length) {
      const end = this.rest.indexOf("\n");
      if (end >= 0) {
        answers.push(JSON.parse(this.rest.slice(0, end)) as OracleAnswer);
        this.rest = this.rest.slice(end + 1);
        continue;
      }
      const { value, done } = await this.reader.read();
      if (done) throw new Error("Cannot ask node: it has ended");
      this.rest += this.decoder.decode(value, { stream: true });
    }
    return answers;
  }

  close(): void {
    this.child.kill();
  }
}
