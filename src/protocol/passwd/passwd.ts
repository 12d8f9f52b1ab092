/**
 * passwd(5): who a name is, in a file that a container wrote. Lines that are not
 * `name:password:uid:gid:...` are skipped, as the C library does; the first match wins.
 */

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** 2^32-1 is the kernel's "no id" (setresuid(2)). */
const ID_MAX = 0xfffffffe;

/** A decimal id without sign or blanks, or undefined. */
export function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^(0|[1-9][0-9]{0,9})$/.test(text)) return undefined;
  const id = Number(text);
  return id <= ID_MAX ? id : undefined;
}

function* accounts(passwd: string): Generator<Account & { readonly name: string }> {
  for (const line of passwd.split("\n")) {
    const [name, , uidText, gidText] = line.split(":");
    const uid = parseId(uidText);
    const gid = parseId(gidText);
    if (name !== undefined && name !== "" && uid !== undefined && gid !== undefined) yield { name, uid, gid };
  }
}

export function accountByName(passwd: string, name: string): Account | undefined {
  for (const account of accounts(passwd)) if (account.name === name) return account;
  return undefined;
}

export function accountByUid(passwd: string, uid: number): Account | undefined {
  for (const account of accounts(passwd)) if (account.uid === uid) return account;
  return undefined;
}
