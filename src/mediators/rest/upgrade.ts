/** Upgrade (RFC 9110 section 7.8): which of the offered protocols may go on to the provider. */
import { UPGRADE_TOKEN } from "../../policy/rest-upgrade.ts";
import { text } from "../../protocol/http/characters.ts";
import type { FieldSection } from "../../protocol/http/fields.ts";

/** Protocols in one Upgrade field; more is no offer but noise. */
const PROTOCOLS_MAX = 8;

/** The protocols of an Upgrade field, in small letters. */
function protocolsIn(bytes: Uint8Array, base: number, fields: FieldSection, field: number): string[] {
  const value = text(bytes, base + fields.valueStart(field), base + fields.valueEnd(field)).toLowerCase();
  return value.split(",", PROTOCOLS_MAX).map((protocol) => protocol.trim());
}

/** The offered protocols that are allowed; a version behind "/" is the provider's matter. */
export function allowedProtocols(
  bytes: Uint8Array,
  base: number,
  fields: FieldSection,
  field: number,
  allowed: ReadonlySet<string>,
): readonly string[] {
  return protocolsIn(bytes, base, fields, field).filter(
    (protocol) => UPGRADE_TOKEN.test(protocol) && isAllowed(protocol, allowed),
  );
}

/** With its version, or by its name alone. */
export const isAllowed = (protocol: string, allowed: ReadonlySet<string>): boolean =>
  allowed.has(protocol) || allowed.has(protocol.split("/")[0]!);

/** What the provider's 101 switches to; undefined if some of it was not offered to it. */
export function switchesTo(
  bytes: Uint8Array,
  base: number,
  fields: FieldSection,
  field: number,
  offered: readonly string[],
): readonly string[] | undefined {
  if (field < 0) return undefined;
  const chosen = protocolsIn(bytes, base, fields, field);
  return chosen.length > 0 && chosen.every((protocol) => offered.includes(protocol)) ? chosen : undefined;
}
