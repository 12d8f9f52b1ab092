/** Errno numbers that the shim's tests expect and the program itself has no use for, with those it has. */
export * from "../../../src/sys/errno.ts";
export const EBADF = 9;
export const EFAULT = 14;
export const EISDIR = 21;
export const ENOTSOCK = 88;
export const EDESTADDRREQ = 89;
export const EISCONN = 106;
export const ENOTEMPTY = 39;
