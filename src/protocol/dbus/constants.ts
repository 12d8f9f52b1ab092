/** Numbers of the D-Bus wire format. Source: D-Bus Specification 0.38, "Message Protocol". */

export const METHOD_CALL = 1;
export const METHOD_RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

export const NO_REPLY_EXPECTED = 0x1;
export const NO_AUTO_START = 0x2;

/** Byte order, type, flags, version, body length, serial, length of the fields array. */
export const FIXED_HEADER = 16;
/** Longest bus name, interface, member or error name ("Valid Names"). */
export const MAX_NAME = 255;
export const MAX_SIGNATURE = 255;
/** Array type codes, and open parentheses or braces, that may nest ("Type System", 32 each). */
export const MAX_DEPTH = 32;
/** Containers that may nest in a value, variants included: what dbus-daemon allows (2 × 32). */
export const MAX_VALUE_DEPTH = 64;
/** 2^26: longest array body ("Marshaling"). */
export const MAX_ARRAY = 67_108_864;
/** 2^27: longest message ("Message Format"). */
export const MAX_MESSAGE = 134_217_728;
