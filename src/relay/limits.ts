/** Every cap and deadline of the data plane, with its reason. Bytes and milliseconds. */

/** The receive buffer: the largest seqpacket message that passes (a socket's default send buffer is 212,992). */
export const CHUNK_BYTES = 256 * 1024;
/** One receive of a stream through our memory: what stays in a core's second-level cache on its way moved most bytes a second. */
export const READ_BYTES = 64 * 1024;
/** From here on a stream's bytes are spliced: two more system calls are cheaper than copying so much twice. */
export const SPLICE_BYTES = 32 * 1024;
/** Slots of the splice pipe, in bytes of F_SETPIPE_SZ: a message of 256 KiB is up to 100 pieces of pages. */
export const SPLICE_PIPE_BYTES = 512 * 1024;
/** Up to here messages pass inside the wait for events (`Lanes`); larger ones are moved by reference or in large pieces. */
export const LANE_PAGE_BYTES = 16 * 1024;
/**
 * How long a wait looks before it sleeps, in microseconds, while messages come this fast anyway: about
 * what it costs to put a processor to sleep and to wake it.
 */
export const SPIN_US = 50;
/** Waits without looking after looking was in vain again and again: bounds what that costs to 2 % of them. */
export const SPIN_PAUSE_MAX = 64;
/** Receive buffers kept for reuse; what is beyond goes back to the allocator after a burst. */
export const CHUNK_POOL = 8;
/** Receive buffers that blocked sessions may keep as they are: 4 MiB; all others are copied out of. */
export const CHUNKS_KEPT = 16;
/** A rest below is copied out of the receive buffer at once: it would pin too much for too little. */
export const KEEP_BYTES = 32 * 1024;
/** What filters write of their own is gathered here until it is sent; larger writes get memory of their own. */
export const ARENA_BYTES = 64 * 1024;
/** Segments in one sendmsg; the kernel takes 1,024, a filter that interleaves needs few. */
export const IOV_MAX = 32;

/**
 * Unsent bytes of one session and direction at which the session ends. Relaying alone never
 * gets there (nothing is read while anything waits); only a filter's own answers can.
 */
export const SESSION_QUEUE_MAX = 4 * 1024 * 1024;
/** Unsent bytes of one link: beyond, its sessions are not read until some of it has left. */
export const LINK_QUEUE_MAX = 8 * 1024 * 1024;
/** At and below, sessions that stopped for the link's budget go on at once; between here and the budget after `PARKED_LOOK_MS`. */
export const LINK_QUEUE_RESUME = 6 * 1024 * 1024;
export const PARKED_LOOK_MS = 10;
/** Above this share of its budget a link reads in small pieces, so that more sessions fit in the rest. */
export const LINK_QUEUE_SOFT = 2 * 1024 * 1024;
export const SMALL_CHUNK_BYTES = 16 * 1024;
/** Unsent bytes of all links: the daemon's share of a device's memory. */
export const TOTAL_QUEUE_MAX = 64 * 1024 * 1024;
/** fds received and not yet sent on, of one link and in all: they count against our RLIMIT_NOFILE. */
export const LINK_FDS_MAX = 1024;
export const LINK_FDS_RESUME = 768;
export const TOTAL_FDS_MAX = 8192;

/** SCM_MAX_FD, include/net/scm.h */
export const FDS_PER_MESSAGE_MAX = 253;
/** Sessions of one link, so that one consumer can't use up the daemon's fds (two each, and one more while dialling). */
export const LINK_SESSIONS_MAX = 4096;
/** How often it is looked at whether fds that are being closed have been. */
export const CLOSER_LOOK_MS = 10;
/** Accepts a wakeup: enough to drain a burst, few enough that others get their turn. */
export const ACCEPT_BATCH = 64;
/** After EMFILE or ENFILE: when to look again. Closing sessions resumes earlier. */
export const ACCEPT_PAUSE_MS = 100;
/** A link whose socket could not be waited on (ENOSPC: epoll_ctl(2)): when it is tried again. */
export const LISTEN_RETRY_MS = 1000;
/** fds that accepting leaves free for what is already open (dials, ancillary fds, files); a quarter where the limit is low. */
export const FD_RESERVE = 256;
/** fds of a link besides its sessions': its listening socket, a pidfd for each end and each thread that looks there, the provider's inode. */
export const FDS_PER_LINK = 6;
/** Largest seqpacket message that can be sent on: senders may have raised theirs. */
export const SEQPACKET_SEND_BUFFER = 1024 * 1024;

/** A link that can't accept says so when it begins, and then so often. */
export const PAUSE_LOG_MS = 60_000;

/** How long a consumer is held while its provider is not there: a service restart, not an outage. */
export const HOLD_MS = 5000;
/** First and longest pause between dials of one link with held sessions. */
export const REDIAL_FIRST_MS = 5;
export const REDIAL_MAX_MS = 100;
/** A half-open session without a byte: the side that is left has had its time. */
export const LINGER_MS = 60_000;
/** For a refusal to reach the consumer, and for the last bytes after one side is gone. */
export const FINISH_MS = 2000;

/** Denials, log lines and reports of one link to the control thread: a burst, then a rate. */
export const RECORD_BURST = 20;
export const RECORDS_PER_SECOND = 10;
/** Reports of one link (access log, learned rules): each is one small message to the control thread. */
export const REPORT_BURST = 2000;
export const REPORTS_PER_SECOND = 2000;

/** Links that have counters at once: the table is shared memory of fixed size, touched as far as it is used. */
export const LINKS_MAX = 10_000;

/**
 * Garbage is collected by itself only when more is made: after a burst of sessions its memory (10 MB and more) would stay
 * until the next one. So it is collected after so many ended sessions, once none has come or gone for so long:
 * it takes the thread about 10 ms.
 */
export const COLLECT_AFTER_SESSIONS = 500;
export const COLLECT_QUIET_MS = 2000;
