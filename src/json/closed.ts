/**
 * Schemas for documents that people write and that grant rights: nothing in them is
 * ignored. valibot alone is laxer in two ways that matter here: its objects accept
 * arrays (so `"admin": []` would be an empty, all-allowing entry), and its `record`
 * drops the keys `__proto__`, `prototype` and `constructor` without a word (so a
 * policy for a service of that name would silently not exist).
 */
import * as v from "valibot";

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const PlainObject = v.custom<Record<string, unknown>>(isPlainObject, "an object");

/** What an unknown key's error says is expected. Give it to `v.strictObject` as its message where a variant needs the bare object. */
export function knownKeys(entries: v.ObjectEntries): (issue: v.BaseIssue<unknown>) => string {
  const names = Object.keys(entries).map((name) => JSON.stringify(name));
  return ({ expected }) => {
    if (expected === "never") return `one of ${names.join(", ")}`;
    return expected?.startsWith('"') ? `the key ${expected}` : "an object";
  };
}

/** An object with exactly these keys; arrays and unknown keys are errors. */
export function closedObject<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(PlainObject, v.strictObject(entries, knownKeys(entries)));
}

/** An object whose keys are foreign names, as a Map: no name is special, none is lost. At most `max` names. */
export function namedEntries<T>(schema: v.GenericSchema<unknown, T>, max: number) {
  return v.pipe(
    PlainObject,
    v.rawTransform<Record<string, unknown>, ReadonlyMap<string, T>>(({ dataset, addIssue, NEVER }) => {
      const input = dataset.value;
      const keys = Object.keys(input);
      const result = new Map<string, T>();
      if (keys.length > max) {
        addIssue({ message: `at most ${max} names` });
        return NEVER;
      }
      for (const key of keys) {
        const item = { type: "object", origin: "value", input, key, value: input[key] } as const;
        if (!isName(key)) addIssue({ input: key, message: NAME_RULE, path: [{ ...item, origin: "value" }] });
        const parsed = v.safeParse(schema, input[key]);
        if (parsed.success) result.set(key, parsed.output);
        else
          for (const issue of parsed.issues)
            addIssue({
              input: issue.input,
              ...(issue.expected === null ? {} : { expected: issue.expected }),
              received: issue.received,
              message: issue.message,
              path: [item, ...((issue.path ?? []) as v.IssuePathItem[])],
            });
      }
      return result;
    }),
  );
}

/** A name from the integrator (service, role, container): any text, but a NUL would end it in a C program. */
export const MAX_NAME_CHARS = 4096;
export const NAME_RULE = `a name of 1 to ${MAX_NAME_CHARS} characters without NUL`;
export function isName(text: string): boolean {
  return text.length > 0 && text.length <= MAX_NAME_CHARS && !text.includes("\0");
}
export const Name = v.pipe(v.string(NAME_RULE), v.check(isName, NAME_RULE));
