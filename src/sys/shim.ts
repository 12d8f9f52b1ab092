/**
 * Loads native/pvx.c's shared object and binds its hot half with bun:ffi.
 *
 * Why from a memfd: inside the compiled binary the object is data, and a device's
 * root may be read-only with no /tmp to unpack it to. Each thread (control, data
 * plane) loads its own binding; the object's text is shared.
 *
 * Calling rules: arguments marked `ptr` take a stable address (`Memory`), or
 * null; never a variadic libc function through FFI (arm64 passes those differently).
 */
import { dlopen, FFIType } from "bun:ffi";
import { readFileSync, writeSync } from "node:fs";
import shimFile from "../../build/native/libpvx.so" with { type: "file" };

const { i32, u32, i64_fast: i64, ptr } = FFIType;

/** libc is needed for one call, before the shim is there: glibc's name, then musl's. */
const LIBC_NAMES = ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];

/** Puts bytes into an anonymous file and returns its fd; the fd is the caller's. */
export function memfdOf(name: string, bytes: Uint8Array): number {
  let lastError: unknown;
  for (const libc of LIBC_NAMES) {
    try {
      const { symbols, close } = dlopen(libc, { memfd_create: { args: [FFIType.cstring, u32], returns: i32 } });
      const fd = symbols.memfd_create(Buffer.from(`${name}\0`) as never, 1);
      close();
      if (fd < 0) throw new Error(`Cannot load ${name}: memfd_create() failed in ${libc}`);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      return fd;
    } catch (error) {
      lastError = error;
    }
  }
  throw lastError;
}

function open() {
  const fd = memfdOf("libpvx.so", readFileSync(shimFile));
  try {
    return dlopen(`/proc/self/fd/${fd}`, {
      pvx_close: { args: [i32], returns: i32 },
      pvx_read: { args: [i32, ptr, u32], returns: i32 },
      pvx_write: { args: [i32, ptr, u32], returns: i32 },
      pvx_dup: { args: [i32], returns: i32 },
      pvx_fcntl: { args: [i32, i32, i64], returns: i32 },
      pvx_eventfd: { args: [], returns: i32 },
      pvx_memfd: { args: [ptr], returns: i32 },
      pvx_flock: { args: [i32, i32], returns: i32 },
      pvx_pipe: { args: [ptr], returns: i32 },
      pvx_fchdir: { args: [i32], returns: i32 },
      pvx_umask: { args: [i32], returns: i32 },
      pvx_epoll_create: { args: [], returns: i32 },
      pvx_epoll_ctl: { args: [i32, i32, i32, u32, u32], returns: i32 },
      pvx_epoll_wait: { args: [i32, ptr, i32, i32], returns: i32 },
      pvx_epoll_lanes: { args: [i32, ptr, i32, i32, ptr], returns: i32 },
      pvx_socket: { args: [i32], returns: i32 },
      pvx_socketpair: { args: [i32, ptr], returns: i32 },
      pvx_listen: { args: [i32, i32], returns: i32 },
      pvx_accept: { args: [i32], returns: i32 },
      pvx_shutdown: { args: [i32, i32], returns: i32 },
      pvx_bind: { args: [i32, ptr, u32], returns: i32 },
      pvx_connect: { args: [i32, ptr], returns: i32 },
      pvx_connect_as: { args: [i32, ptr, u32, u32], returns: i32 },
      pvx_peercred: { args: [i32, ptr], returns: i32 },
      pvx_setsockopt_int: { args: [i32, i32, i32], returns: i32 },
      pvx_getsockopt_int: { args: [i32, i32], returns: i32 },
      pvx_wait_readable: { args: [i32, i32], returns: i32 },
      pvx_recv: { args: [i32, ptr, u32, ptr, ptr], returns: i32 },
      pvx_recv_packet: { args: [i32, ptr, u32, ptr, ptr], returns: i32 },
      pvx_recv_placed: { args: [i32, ptr, u32, ptr, ptr, ptr, u32], returns: i32 },
      pvx_pump: { args: [i32, i32, ptr, u32, ptr, ptr, ptr, u32], returns: i32 },
      pvx_sendv: { args: [i32, ptr, u32, ptr, u32, ptr], returns: i32 },
      pvx_send: { args: [i32, ptr, u32, u32], returns: i32 },
      pvx_http_request: { args: [ptr, u32, u32, ptr], returns: i32 },
      pvx_http_response: { args: [ptr, u32, u32, ptr], returns: i32 },
      pvx_openat2: { args: [i32, ptr, u32, u32, u32], returns: i32 },
      pvx_openat: { args: [i32, ptr, u32, u32], returns: i32 },
      pvx_unlinkat: { args: [i32, ptr, i32], returns: i32 },
      pvx_statx: { args: [i32, ptr, i32, u32, ptr], returns: i32 },
      pvx_inotify_init: { args: [], returns: i32 },
      pvx_inotify_add: { args: [i32, ptr, u32], returns: i32 },
      pvx_inotify_remove: { args: [i32, i32], returns: i32 },
      pvx_pidfd_open: { args: [i32], returns: i32 },
      pvx_pidfd_signal: { args: [i32, i32], returns: i32 },
      pvx_gettid: { args: [], returns: i32 },
      pvx_unblock_signals: { args: [], returns: i32 },
      pvx_raise_nofile: { args: [i64, ptr], returns: i32 },
      pvx_inline: { args: [ptr, u32, ptr], returns: i64 },
      pvx_reap: { args: [i32], returns: i32 },
      pvx_closer_start: { args: [ptr, ptr, u32], returns: i32 },
      pvx_closer_ended: { args: [i32], returns: i32 },
      pvx_closer_give: { args: [ptr, i32], returns: i32 },
      pvx_closer_wake: { args: [ptr], returns: i32 },
      pvx_close_sent: { args: [i32], returns: i32 },
      pvx_close_stream: { args: [i32], returns: i32 },
      pvx_guarded: { args: [ptr, u32, ptr, u32, i32, ptr], returns: i64 },
    }).symbols;
  } finally {
    // The loader has mapped it; the fd is not needed to stay mapped.
    require("node:fs").closeSync(fd);
  }
}

/** The bound functions: each returns its result or -errno. */
export const pvx = open();
