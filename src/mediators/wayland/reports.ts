/** What the data-plane half of a Wayland link reports to its control half (`Session.report`). */

/** `{ interfaces: BoundInterfaces }`: all that a session has bound so far. */
export const BOUND_REPORT = "wayland.bound";
/** Interface and highest version bound. */
export type BoundInterfaces = readonly (readonly [interface_: string, version: number])[];

/** `{}`: a session that was dialled without the identity met a compositor that takes identities. */
export const CONTEXT_OFFERED_REPORT = "wayland.context-offered";
/** The audit record of a session's hidden globals. */
export const HIDE_ACTION = "wayland.hide";
