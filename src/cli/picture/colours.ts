import type { LinkType } from "../../graph/link.ts";

/** One colour a type, told apart also by their lightness: each has at least 4.5:1 against white (WCAG 2.2, 1.4.3). */
export const TYPE_COLOURS: Readonly<Record<LinkType, string>> = {
  unix: "#475569",
  rest: "#1d4ed8",
  dbus: "#7e22ce",
  drm: "#b91c1c",
  wayland: "#0f766e",
  input: "#a16207",
};
