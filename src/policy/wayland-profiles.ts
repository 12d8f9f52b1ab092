/**
 * Which globals a Wayland client may see, and up to which version: frozen tables.
 *
 * Frozen, because a new version of an interface can bring new requests: an update of
 * the compositor must not widen what an application may do. A version here is the
 * highest one that was read when the table was made. Raising one, or adding a line, is
 * a decision: read the protocol's change, then move the date.
 */

/** Read from wayland.xml, wayland-protocols, wlr-protocols and weston's protocols as of July 2026. */
export const WAYLAND_TABLES_DATE = "2026-11-21";

type Table = Readonly<Record<string, number>>;
const frozen = (table: Record<string, number>): Table => Object.freeze(Object.assign(Object.create(null), table));

/** An ordinary application: its own windows, input while it has the focus, the clipboard by way of the user. */
const APP = frozen({
  wl_compositor: 7,
  wl_subcompositor: 1,
  wl_shm: 3,
  wl_seat: 11,
  wl_output: 4,
  wl_data_device_manager: 4,
  xdg_wm_base: 7,
  xdg_activation_v1: 1,
  zxdg_output_manager_v1: 3,
  zxdg_decoration_manager_v1: 2,
  zwp_linux_dmabuf_v1: 6,
  zwp_pointer_constraints_v1: 1,
  zwp_relative_pointer_manager_v1: 1,
  zwp_primary_selection_device_manager_v1: 1,
  zwp_text_input_manager_v1: 1,
  zwp_text_input_manager_v3: 2,
  zwp_idle_inhibit_manager_v1: 1,
  wp_viewporter: 1,
  wp_presentation: 2,
  wp_fractional_scale_manager_v1: 1,
  wp_cursor_shape_manager_v1: 2,
  wp_single_pixel_buffer_manager_v1: 1,
  wp_content_type_manager_v1: 1,
  wp_tearing_control_manager_v1: 1,
});

/** The desktop itself: panels, launcher, locker, switcher, display settings. Neither screen contents nor typing for others. */
const SHELL = frozen({
  ...APP,
  zwlr_layer_shell_v1: 5,
  zwlr_foreign_toplevel_manager_v1: 3,
  zwlr_output_manager_v1: 4,
  zwlr_output_power_manager_v1: 1,
  zwlr_gamma_control_manager_v1: 1,
  zwlr_input_inhibit_manager_v1: 1,
  ext_foreign_toplevel_list_v1: 1,
  ext_workspace_manager_v1: 1,
  ext_session_lock_manager_v1: 1,
  ext_idle_notifier_v1: 2,
  weston_desktop_shell: 1,
});

/** The one full-screen application of an appliance: the older and embedded shells, every key, tablets and gestures. */
const KIOSK = frozen({
  ...APP,
  wl_shell: 1,
  zwp_fullscreen_shell_v1: 1,
  ivi_application: 1,
  zwp_keyboard_shortcuts_inhibit_manager_v1: 1,
  zwp_input_timestamps_manager_v1: 1,
  zwp_pointer_gestures_v1: 3,
  zwp_tablet_manager_v2: 2,
});

/** Screenshots, recording, remote display: an application that may read the screen. */
const CAPTURE = frozen({
  ...APP,
  zwlr_screencopy_manager_v1: 3,
  zwlr_export_dmabuf_manager_v1: 1,
  ext_image_copy_capture_manager_v1: 1,
  ext_output_image_capture_source_manager_v1: 1,
  ext_foreign_toplevel_image_capture_source_manager_v1: 1,
  ext_foreign_toplevel_list_v1: 1,
  weston_capture_v1: 2,
  weston_screenshooter: 1,
});

export const WAYLAND_PROFILES = ["app", "shell", "kiosk", "capture", "none"] as const;
export type WaylandProfile = (typeof WAYLAND_PROFILES)[number];

/** `none`: nothing but the `globals` that the role lists. */
export const PROFILE_TABLES: Readonly<Record<WaylandProfile, Table>> = Object.freeze({
  app: APP,
  shell: SHELL,
  kiosk: KIOSK,
  capture: CAPTURE,
  none: frozen({}),
});

/**
 * Interfaces that no policy can grant, with the reason that the policy's author is given.
 * Both would put the filter itself out of the consumer's way.
 */
export const NEVER_GRANTED: ReadonlyMap<string, string> = new Map([
  [
    "wp_security_context_manager_v1",
    "its holder gives itself another identity; the daemon attaches the consumer's own",
  ],
  ["wl_fixes", "it ends registries unseen, and every bind is checked by its registry"],
]);

/**
 * What an application must not reach without a role that says so: the screen's contents, input for
 * and from others, the clipboard behind the user's back, other windows, the session, the displays.
 * For tests and documents; the filter needs no such list, since what is not granted is hidden.
 */
export const PRIVILEGED: readonly string[] = Object.freeze([
  "zwlr_screencopy_manager_v1",
  "ext_image_copy_capture_manager_v1",
  "ext_output_image_capture_source_manager_v1",
  "ext_foreign_toplevel_image_capture_source_manager_v1",
  "hyprland_toplevel_export_manager_v1",
  "zwlr_export_dmabuf_manager_v1",
  "weston_screenshooter",
  "weston_capture_v1",
  "zwlr_data_control_manager_v1",
  "ext_data_control_manager_v1",
  "zwp_virtual_keyboard_manager_v1",
  "zwlr_virtual_pointer_manager_v1",
  "zwp_input_method_v1",
  "zwp_input_method_manager_v2",
  "zwp_input_panel_v1",
  "zwlr_input_inhibit_manager_v1",
  "ext_transient_seat_manager_v1",
  "zwp_keyboard_shortcuts_inhibit_manager_v1",
  "zwp_xwayland_keyboard_grab_manager_v1",
  "zwlr_foreign_toplevel_manager_v1",
  "ext_foreign_toplevel_list_v1",
  "ext_workspace_manager_v1",
  "zwlr_layer_shell_v1",
  "ext_session_lock_manager_v1",
  "weston_desktop_shell",
  "ivi_hmi_controller",
  "org_kde_plasma_window_management",
  "org_kde_plasma_shell",
  "zwlr_output_manager_v1",
  "zwlr_output_power_manager_v1",
  "zwlr_gamma_control_manager_v1",
  "wp_security_context_manager_v1",
  "wp_drm_lease_device_v1",
  "wl_drm",
  "weston_debug_v1",
  "weston_test",
  "weston_touch_calibration",
  "weston_direct_display_v1",
  "wl_fixes",
  "xwayland_shell_v1",
]);
