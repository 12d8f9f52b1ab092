/*
 * pvx: the syscall shim of pv-xconnect.
 *
 * Why it exists: Bun's own readers drop ancillary data, some sequences must not
 * be interrupted by another line of JavaScript ("become uid, connect, become
 * root again"), and msghdr, epoll_event and struct open_how are clumsy and
 * architecture-dependent from TypeScript.
 *
 * Freestanding: no libc, no TLS, no errno. Every function returns the result or
 * -errno, so nothing can come between a call and its error. The same object
 * therefore serves glibc and musl. x86_64 and aarch64.
 *
 * Ownership: an fd that a function returns, or writes to an array, is the
 * caller's; all are close-on-exec. No function keeps a pointer after it returns,
 * but for pvx_guarded when it answers -EDEADLK (see there).
 */
#include <linux/types.h>
#include <asm/unistd.h>

typedef __s32 i32;
typedef __u32 u32;
typedef __s64 i64;
typedef __u64 u64;
typedef __u8 u8;

#define API __attribute__((visibility("default")))

/* errno values that the shim itself gives or looks at; the same on both architectures (asm-generic/errno.h) */
enum { E_INTR = 4, E_AGAIN = 11, E_FAULT = 14, E_INVAL = 22, E_MFILE = 24, E_DEADLK = 35, E_NOSYS = 38, E_TIMEDOUT = 110, E_NAMETOOLONG = 36, E_PERM = 1 };

#if defined(__x86_64__)
static inline i64 sys6(i64 nr, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
	register i64 r10 __asm__("r10") = d;
	register i64 r8 __asm__("r8") = e;
	register i64 r9 __asm__("r9") = f;
	i64 ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline i64 sys6(i64 nr, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
	register i64 x8 __asm__("x8") = nr;
	register i64 x0 __asm__("x0") = a;
	register i64 x1 __asm__("x1") = b;
	register i64 x2 __asm__("x2") = c;
	register i64 x3 __asm__("x3") = d;
	register i64 x4 __asm__("x4") = e;
	register i64 x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "pvx: x86_64 and aarch64 only"
#endif

#define S0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define S1(n, a) sys6(n, (i64)(a), 0, 0, 0, 0, 0)
#define S2(n, a, b) sys6(n, (i64)(a), (i64)(b), 0, 0, 0, 0)
#define S3(n, a, b, c) sys6(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)
#define S4(n, a, b, c, d) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), 0, 0)
#define S5(n, a, b, c, d, e) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), 0)
#define S6(n, a, b, c, d, e, f) sys6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))

/* The compiler may call these even when freestanding. */
void *memset(void *to, int byte, unsigned long n)
{
	u8 *p = to;
	while (n--)
		*p++ = (u8)byte;
	return to;
}
void *memcpy(void *to, const void *from, unsigned long n)
{
	u8 *p = to;
	const u8 *q = from;
	while (n--)
		*p++ = *q++;
	return to;
}

/* ---- plain fds ---------------------------------------------------------- */

API i32 pvx_close(i32 fd) { return (i32)S1(__NR_close, fd); }
API i32 pvx_read(i32 fd, void *to, u32 n) { return (i32)S3(__NR_read, fd, to, n); }
API i32 pvx_write(i32 fd, const void *from, u32 n) { return (i32)S3(__NR_write, fd, from, n); }
API i32 pvx_dup(i32 fd) { return (i32)S3(__NR_fcntl, fd, 1030 /* F_DUPFD_CLOEXEC */, 3); }
API i32 pvx_fcntl(i32 fd, i32 op, i64 arg) { return (i32)S3(__NR_fcntl, fd, op, arg); }
API i32 pvx_eventfd(void) { return (i32)S2(__NR_eventfd2, 0, 02004000 /* EFD_NONBLOCK | EFD_CLOEXEC */); }
API i32 pvx_memfd(const char *name) { return (i32)S2(__NR_memfd_create, name, 1 /* MFD_CLOEXEC */); }
API i32 pvx_flock(i32 fd, i32 op) { return (i32)S2(__NR_flock, fd, op); }
API i32 pvx_pipe(i32 *two) { return (i32)S2(__NR_pipe2, two, 02004000); }
API i32 pvx_fchdir(i32 fd) { return (i32)S1(__NR_fchdir, fd); }
API i32 pvx_umask(i32 mask) { return (i32)S1(__NR_umask, mask); }

/* ---- epoll ---------------------------------------------------------------
 * The kernel's struct is packed on x86_64 only; callers see three u32 an event:
 * fd, generation, events. The generation tells an event of a closed and reused
 * fd number (same batch) from one of its new owner.
 */
struct epoll_event_abi {
	u32 events;
	u32 fd;
	u32 generation;
#if !defined(__x86_64__)
	u32 tail;
#endif
} __attribute__((packed));

#if !defined(__x86_64__)
/* aarch64: u32 events, u32 padding, u64 data */
struct epoll_event_wide {
	u32 events;
	u32 pad;
	u32 fd;
	u32 generation;
};
#define EVENT struct epoll_event_wide
#else
#define EVENT struct epoll_event_abi
#endif

enum { EVENTS_MAX = 256 };

API i32 pvx_epoll_create(void) { return (i32)S1(__NR_epoll_create1, 02000000); }

/* op: 1 add, 2 delete, 3 modify */
API i32 pvx_epoll_ctl(i32 ep, i32 op, i32 fd, u32 events, u32 generation)
{
	EVENT e = { .events = events, .fd = (u32)fd, .generation = generation };
	return (i32)S4(__NR_epoll_ctl, ep, op, fd, &e);
}

/* Returns the number of events; an interrupted wait is 0 events, not an error. */
API i32 pvx_epoll_wait(i32 ep, u32 *out, i32 max, i32 timeout_ms)
{
	EVENT events[EVENTS_MAX];
	if (max > EVENTS_MAX)
		max = EVENTS_MAX;
	i32 n = (i32)S6(__NR_epoll_pwait, ep, events, max, timeout_ms, 0, 8);
	if (n == -E_INTR)
		return 0;
	for (i32 i = 0; i < n; i++) {
		out[3 * i] = events[i].fd;
		out[3 * i + 1] = events[i].generation;
		out[3 * i + 2] = events[i].events;
	}
	return n;
}

/* ---- unix sockets ------------------------------------------------------- */

struct sockaddr_un_abi {
	unsigned short family;
	char path[108];
};
struct iovec_abi {
	void *base;
	u64 len;
};
struct msghdr_abi {
	void *name;
	u32 namelen;
	u32 pad0;
	struct iovec_abi *iov;
	u64 iovlen;
	void *control;
	u64 controllen;
	u32 flags;
	u32 pad1;
};
struct cmsghdr_abi {
	u64 len;
	i32 level;
	i32 type;
};
enum {
	AF_UNIX_ = 1,
	SOL_SOCKET_ = 1,
	SCM_RIGHTS_ = 1,
	SCM_CREDENTIALS_ = 2,
	SO_PEERCRED_ = 17,
	SOCK_FLAGS = 02004000, /* SOCK_NONBLOCK | SOCK_CLOEXEC */
	MSG_PEEK_ = 2,
	MSG_CTRUNC_ = 8,
	MSG_DONTWAIT_ = 0x40,
	MSG_NOSIGNAL_ = 0x4000,
	MSG_CMSG_CLOEXEC_ = 0x40000000,
	FDS_MAX = 253, /* SCM_MAX_FD, include/net/scm.h */
};

/* abstract: the path's first byte counts as NUL. Not used for anything of ours; for tests and probes. */
static i64 address(struct sockaddr_un_abi *a, const char *path)
{
	u32 n = 0;
	memset(a, 0, sizeof *a);
	a->family = AF_UNIX_;
	while (path[n]) {
		if (n >= sizeof a->path - 1)
			return -E_NAMETOOLONG;
		a->path[n] = path[n];
		n++;
	}
	return (i64)(sizeof a->family + n + 1);
}

/* type: 1 stream, 5 seqpacket, 2 datagram */
API i32 pvx_socket(i32 type) { return (i32)S3(__NR_socket, AF_UNIX_, type | SOCK_FLAGS, 0); }
API i32 pvx_socketpair(i32 type, i32 *two) { return (i32)S4(__NR_socketpair, AF_UNIX_, type | SOCK_FLAGS, 0, two); }
API i32 pvx_listen(i32 fd, i32 backlog) { return (i32)S2(__NR_listen, fd, backlog); }
API i32 pvx_accept(i32 fd) { return (i32)S4(__NR_accept4, fd, 0, 0, SOCK_FLAGS); }
API i32 pvx_shutdown(i32 fd, i32 how) { return (i32)S2(__NR_shutdown, fd, how); }

/*
 * Binds with exactly `mode` on the new inode: the kernel takes it from the
 * socket's own inode less the umask (net/unix/af_unix.c, unix_bind_bsd), so no
 * chmod by path follows that somebody could redirect. The umask is the
 * process's; it is put back before the call returns.
 */
API i32 pvx_bind(i32 fd, const char *path, u32 mode)
{
	struct sockaddr_un_abi a;
	i64 n = address(&a, path);
	if (n < 0)
		return (i32)n;
	i64 r = S2(__NR_fchmod, fd, mode);
	if (r < 0)
		return (i32)r;
	i64 old = S1(__NR_umask, 0);
	r = S3(__NR_bind, fd, &a, n);
	S1(__NR_umask, old);
	return (i32)r;
}

API i32 pvx_connect(i32 fd, const char *path)
{
	struct sockaddr_un_abi a;
	i64 n = address(&a, path);
	if (n < 0)
		return (i32)n;
	return (i32)S3(__NR_connect, fd, &a, n);
}

/* out: pid, uid, gid */
API i32 pvx_peercred(i32 fd, u32 *out)
{
	u32 len = 12;
	return (i32)S5(__NR_getsockopt, fd, SOL_SOCKET_, SO_PEERCRED_, out, &len);
}
API i32 pvx_setsockopt_int(i32 fd, i32 option, i32 value)
{
	return (i32)S5(__NR_setsockopt, fd, SOL_SOCKET_, option, &value, 4);
}
API i32 pvx_getsockopt_int(i32 fd, i32 option)
{
	i32 value = 0;
	u32 len = 4;
	i64 r = S5(__NR_getsockopt, fd, SOL_SOCKET_, option, &value, &len);
	return r < 0 ? (i32)r : value;
}
/* 1 when bytes could be read, or the peer is gone, within timeout_ms; else 0 */
API i32 pvx_wait_readable(i32 fd, i32 timeout_ms)
{
	struct { i32 fd; short events, revents; } p = { fd, 1, 0 };
	struct { i64 s, ns; } t = { timeout_ms / 1000, (timeout_ms % 1000) * 1000000L };
	return (i32)S5(__NR_ppoll, &p, 1, timeout_ms < 0 ? 0 : &t, 0, 8);
}

/*
 * info: [0] number of fds written to `fds`, [1] msg_flags, [2] 1 when the
 * message carried credentials, [3] pid, [4] uid, [5] gid.
 * Room for 253 fds always: too little would lose fds silently.
 */
API i32 pvx_recv(i32 fd, void *to, u32 n, i32 *fds, i32 *info)
{
	union {
		u64 align;
		u8 bytes[16 + FDS_MAX * 4 + 4 + 16 + 16 + 64];
	} control;
	struct iovec_abi iov = { to, n };
	struct msghdr_abi m = { .iov = &iov, .iovlen = 1, .control = &control, .controllen = sizeof control };
	info[0] = info[1] = info[2] = 0;
	i64 r = S3(__NR_recvmsg, fd, &m, MSG_DONTWAIT_ | MSG_CMSG_CLOEXEC_);
	if (r < 0)
		return (i32)r;
	info[1] = (i32)m.flags;
	for (u64 at = 0; at + 16 <= m.controllen;) {
		struct cmsghdr_abi *c = (struct cmsghdr_abi *)(control.bytes + at);
		if (c->len < 16 || at + c->len > m.controllen)
			break;
		if (c->level == SOL_SOCKET_ && c->type == SCM_RIGHTS_) {
			i32 *got = (i32 *)(c + 1);
			for (u64 i = 0; i < (c->len - 16) / 4; i++) {
				if (info[0] < FDS_MAX)
					fds[info[0]++] = got[i];
				else
					S1(__NR_close, got[i]);
			}
		} else if (c->level == SOL_SOCKET_ && c->type == SCM_CREDENTIALS_) {
			i32 *got = (i32 *)(c + 1);
			info[2] = 1;
			info[3] = got[0];
			info[4] = got[1];
			info[5] = got[2];
		}
		at += (c->len + 7) & ~7ull;
	}
	return (i32)r;
}

/*
 * pvx_recv for SOCK_SEQPACKET: info[2] is 1 for every message, also an empty one, and 0
 * for the end, which both give 0 bytes. By SO_PASSCRED, for the time of the call only:
 * a socket that has it while it sends is given an abstract name (unix(7), autobind).
 */
API i32 pvx_recv_packet(i32 fd, void *to, u32 n, i32 *fds, i32 *info)
{
	enum { SO_PASSCRED_ = 16 };
	pvx_setsockopt_int(fd, SO_PASSCRED_, 1);
	i32 r = pvx_recv(fd, to, n, fds, info);
	pvx_setsockopt_int(fd, SO_PASSCRED_, 0);
	return r;
}

/*
 * Peeks at whole messages (skbs) of a stream, as many as fit into n bytes, up to and
 * including the first with fds: returns their bytes, *carries tells whether the last
 * has fds (no control room: MSG_CTRUNC). -EFAULT: the very first does not fit.
 *
 * The bytes land on one cache-hot page again and again; only their number counts.
 * Behind them stands an address that faults: the kernel copies a message before it
 * looks for its fds, and stops, without it, at one that it can't copy whole
 * (net/unix/af_unix.c, unix_stream_read_generic; net/core/datagram.c,
 * skb_copy_datagram_iter). Without that it would go on, its room used up, through
 * the whole queue, and tell of fds that come much later.
 */
enum { PEEK_PIECES = 64 };

static i64 peek(i32 fd, u8 *page, u32 page_size, u32 n, i32 *carries)
{
	struct iovec_abi iov[PEEK_PIECES + 1];
	u32 count = 0;
	while (n > 0 && count < PEEK_PIECES) {
		u32 step = n < page_size ? n : page_size;
		iov[count].base = page;
		iov[count].len = step;
		n -= step;
		count++;
	}
	iov[count].base = (void *)8; /* below vm.mmap_min_addr */
	iov[count].len = 1 << 20;
	struct msghdr_abi m = { .iov = iov, .iovlen = count + 1 };
	i64 r = S3(__NR_recvmsg, fd, &m, MSG_DONTWAIT_ | MSG_PEEK_);
	*carries = r >= 0 && (m.flags & MSG_CTRUNC_) != 0;
	return r;
}

/*
 * How many bytes may be taken at once so that fds keep their place: the kernel glues
 * fd-less bytes to the message with fds that follows them, and where in them it began
 * is lost. *with_fds is set when the very next message has fds, or may have: at most
 * that one is then taken, and its fds come with its first byte. 0: the peer has ended;
 * -errno. `first` bytes are looked at first, which are all there are most of the time.
 */
static i64 placed(i32 fd, u32 n, u32 first, u8 *page, u32 page_size, i32 *with_fds)
{
	i32 carries = 0, again = 0;
	*with_fds = 0;
	if (n > PEEK_PIECES * page_size)
		n = PEEK_PIECES * page_size;
	i64 seen = peek(fd, page, page_size, n < first ? n : first, &carries);
	if (seen == -E_FAULT && first < n)
		seen = peek(fd, page, page_size, n, &carries);
	if (seen == -E_FAULT) {
		*with_fds = 1;
		return n;
	}
	if (seen <= 0 || !carries)
		return seen;
	/* Without its last byte the message with fds does not fit any more: those before it are left. */
	i64 before = seen == 1 ? -E_FAULT : peek(fd, page, page_size, (u32)seen - 1, &again);
	/* User-mode emulators leave the faulting piece out: fds then come at or before their byte. */
	*with_fds = before == -E_FAULT || again;
	return *with_fds ? seen : before;
}

/*
 * Like pvx_recv, for streams, but never reads past the byte at which a message
 * with fds begins. The fds then come with the next call, at its first byte.
 * `page` is scratch of `page_size` bytes; n <= 64 of it.
 */
API i32 pvx_recv_placed(i32 fd, void *to, u32 n, i32 *fds, i32 *info, u8 *page, u32 page_size)
{
	i32 with_fds;
	i64 want = placed(fd, n, page_size, page, page_size, &with_fds);
	info[0] = info[1] = info[2] = 0;
	if (want <= 0)
		return (i32)want;
	if (with_fds)
		return pvx_recv(fd, to, (u32)want, fds, info);
	/* No fds in these bytes, and nobody else reads here: the cheaper call does. */
	return (i32)S6(__NR_recvfrom, fd, to, want, MSG_DONTWAIT_, 0, 0);
}

/* What the pump keeps between calls, and says about one. The first five: as `info` of pvx_recv. */
struct pump {
	i32 nfds, flags, has_credentials, pid, uid, gid;
	i32 sent;                  /* bytes of what was received that `to` took, or -errno when it took none */
	i32 pipe_read, pipe_write; /* empty between calls; -1: do not splice */
	u32 splice_from;           /* from this many bytes on */
	u32 page_size;             /* of the scratch that peeks land on */
};

enum { SPLICE_NONBLOCK = 2 };

/*
 * Moves `want` bytes without fds from one stream to the other through the pipe: the
 * pages of the sender's message go on by reference (unix_stream_splice_read; towards
 * the socket since Linux 6.5, MSG_SPLICE_PAGES). What `to` does not take is read out
 * into `buffer` at its place. Returns bytes taken from `from`, or -errno.
 */
static i64 spliced(i32 from, i32 to, u8 *buffer, u32 want, struct pump *p)
{
	i64 got = S6(__NR_splice, from, 0, p->pipe_write, 0, want, SPLICE_NONBLOCK);
	if (got <= 0)
		return got;
	i64 done = 0, r = 0;
	while (done < got && (r = S6(__NR_splice, p->pipe_read, 0, to, 0, got - done, SPLICE_NONBLOCK)) > 0)
		done += r;
	for (i64 at = done; at < got; at += r) {
		r = S3(__NR_read, p->pipe_read, buffer + at, got - at);
		if (r <= 0)
			S1(__NR_exit_group, 70); /* bytes of one session would come out in another */
	}
	p->sent = (i32)done;
	return got;
}

/*
 * One step of a relay between two streams: receives at most n bytes from `from` and
 * sends them to `to` when no fds came with them. Returns bytes received (0: ended,
 * -errno); p->sent of them have left already, the others are in `buffer` from
 * p->sent on. exact: 0: fds come at or before their byte; else they keep their place
 * (see `placed`); 2: and much is expected.
 */
API i32 pvx_pump(i32 from, i32 to, u8 *buffer, u32 n, i32 *fds, struct pump *p, u8 *page, u32 exact)
{
	i32 with_fds = 1;
	i64 r = n;
	p->nfds = p->flags = p->has_credentials = p->sent = 0;
	if (exact) {
		r = placed(from, n, exact == 2 ? n : p->page_size, page, p->page_size, &with_fds);
		if (r <= 0)
			return (i32)r;
	}
	if (with_fds) {
		r = pvx_recv(from, buffer, (u32)r, fds, &p->nfds);
		if (r <= 0 || p->nfds > 0 || (p->flags & MSG_CTRUNC_) != 0)
			return (i32)r;
	} else {
		if (p->pipe_read >= 0 && r >= p->splice_from) {
			i64 moved = spliced(from, to, buffer, (u32)r, p);
			if (moved > 0)
				return (i32)moved;
		}
		r = S6(__NR_recvfrom, from, buffer, r, MSG_DONTWAIT_, 0, 0);
	}
	if (r > 0)
		p->sent = (i32)S6(__NR_sendto, to, buffer, r, MSG_DONTWAIT_ | MSG_NOSIGNAL_, 0, 0);
	return (i32)r;
}

/* ---- lanes: waiting and moving in one call -------------------------------
 * A lane is one direction of a session whose bytes pass as they are, with nothing
 * queued and nothing to be said first. Its events are served here, without the
 * caller; whatever is not plain (fds, ends, errors, large pieces, a peer that takes
 * no more) is left in the kernel as it was and its event given to the caller.
 */
struct lane {
	u32 to; /* the other socket + 1; 0: this fd is no lane */
	u32 generation;
	u32 messages, bytes; /* indices of the counters that what arrives here is added to */
	u32 skip; /* events that go to the caller unseen: large pieces came last, and more are likely */
};
/* A look at a large piece copies a page in vain: one event in so many has it. */
enum { LANE_SKIP = 31 };
struct lanes {
	struct lane *of; /* by fd */
	double *counters;
	u8 *page; /* scratch; a message that does not fit is the caller's */
	u32 count, page_size;
	u32 spin_us; /* in: how long to look before sleeping */
	u32 spun;    /* out: 0 no need, 1 something came meanwhile, 2 nothing did */
	u32 moved;   /* out: events served here */
};
/* Instead of EPOLL* bits: bytes were sent on that could not be taken from their queue (MSG_OOB from a peer that means no good). */
enum { EVENT_ONLY_IN = 1, EVENT_TORN = 1 << 24 };

/*
 * Peeks, sends, and only then takes what was sent: the receiver is on its way one
 * system call earlier, and what it does not take is still the sender's to hold.
 * Returns 1 when the event is served, 0 when it is the caller's, -1 when torn.
 */
static i32 moved(i32 from, struct lane *lane, struct lanes *l)
{
	i32 carries;
	i64 seen = peek(from, l->page, l->page_size, l->page_size, &carries);
	if (seen == -E_FAULT)
		lane->skip = LANE_SKIP;
	if (seen <= 0 || carries)
		return 0;
	i64 sent = S6(__NR_sendto, lane->to - 1, l->page, seen, MSG_DONTWAIT_ | MSG_NOSIGNAL_, 0, 0);
	if (sent <= 0)
		return 0;
	if (S6(__NR_recvfrom, from, l->page, sent, MSG_DONTWAIT_, 0, 0) != sent)
		return -1;
	l->counters[lane->messages] += 1;
	l->counters[lane->bytes] += (double)sent;
	return sent == seen;
}

static u64 now_us(void)
{
	struct { i64 s, ns; } t;
	S2(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &t);
	return (u64)t.s * 1000000 + (u64)t.ns / 1000;
}

/* Looks without sleeping, and lets others run in between. */
static i64 spin(i32 ep, EVENT *events, i32 max, struct lanes *l)
{
	u64 end = now_us() + l->spin_us;
	i64 n;
	do {
		n = S6(__NR_epoll_pwait, ep, events, max, 0, 0, 8);
		if (n == 0)
			S0(__NR_sched_yield);
	} while (n == 0 && now_us() < end);
	l->spun = n > 0 ? 1 : 2;
	return n;
}

/* As pvx_epoll_wait, less the events of lanes. */
API i32 pvx_epoll_lanes(i32 ep, u32 *out, i32 max, i32 timeout_ms, struct lanes *l)
{
	EVENT events[EVENTS_MAX];
	i64 n = 0;
	i32 left = 0;
	l->spun = l->moved = 0;
	if (max > EVENTS_MAX)
		max = EVENTS_MAX;
	if (l->spin_us > 0 && timeout_ms != 0)
		n = spin(ep, events, max, l);
	if (n == 0)
		n = S6(__NR_epoll_pwait, ep, events, max, timeout_ms, 0, 8);
	if (n < 0)
		return n == -E_INTR ? 0 : (i32)n;
	for (i64 i = 0; i < n; i++) {
		u32 fd = events[i].fd, bits = events[i].events;
		struct lane *lane = &l->of[fd];
		if (bits == EVENT_ONLY_IN && fd < l->count && lane->to != 0 && lane->generation == events[i].generation &&
		    (lane->skip == 0 || lane->skip-- == 0)) {
			i32 r = moved((i32)fd, lane, l);
			l->moved += r != 0;
			if (r > 0)
				continue;
			if (r < 0)
				bits = EVENT_TORN;
		}
		out[3 * left] = fd;
		out[3 * left + 1] = events[i].generation;
		out[3 * left + 2] = bits;
		left++;
	}
	return left;
}

/*
 * Sends iov[0, count) in one message. fds leave with its first byte. `credentials`
 * (pid, uid, gid) may be null. Partial sends are possible on streams; the fds have
 * left with any byte.
 */
API i32 pvx_sendv(i32 fd, struct iovec_abi *iov, u32 count, const i32 *fds, u32 nfds, const u32 *credentials)
{
	union {
		u64 align;
		u8 bytes[16 + FDS_MAX * 4 + 4 + 32];
	} control;
	struct msghdr_abi m = { .iov = iov, .iovlen = count };
	u64 at = 0;
	if (nfds > FDS_MAX)
		return -E_INVAL;
	if (credentials) {
		struct cmsghdr_abi *c = (struct cmsghdr_abi *)control.bytes;
		c->len = 16 + 12;
		c->level = SOL_SOCKET_;
		c->type = SCM_CREDENTIALS_;
		memcpy(c + 1, credentials, 12);
		memset((u8 *)(c + 1) + 12, 0, 4);
		at = 32;
	}
	if (nfds) {
		struct cmsghdr_abi *c = (struct cmsghdr_abi *)(control.bytes + at);
		c->len = 16 + 4ull * nfds;
		c->level = SOL_SOCKET_;
		c->type = SCM_RIGHTS_;
		memcpy(c + 1, fds, 4ul * nfds);
		at += (c->len + 7) & ~7ull;
	}
	if (at) {
		m.control = &control;
		m.controllen = at;
	}
	return (i32)S3(__NR_sendmsg, fd, &m, MSG_DONTWAIT_ | MSG_NOSIGNAL_);
}

/* One buffer, no fds: the hot path of a relay. */
API i32 pvx_send(i32 fd, const u8 *from, u32 start, u32 n)
{
	return (i32)S6(__NR_sendto, fd, from + start, n, MSG_DONTWAIT_ | MSG_NOSIGNAL_, 0, 0);
}

/* ---- identity ------------------------------------------------------------
 * Raw setres*id move the calling thread alone. SECBIT_NO_SETUID_FIXUP keeps its
 * capabilities meanwhile, so that the way back always works and a provider
 * socket of mode 0600 is reached. If the way back did not work the thread would
 * go on as somebody else: the process ends instead.
 */
enum { PR_GET_SECUREBITS_ = 27, PR_SET_SECUREBITS_ = 28, NO_SETUID_FIXUP = 4, GROUPS_MAX = 256 };

API i32 pvx_connect_as(i32 fd, const char *path, u32 uid, u32 gid)
{
	u32 groups[GROUPS_MAX];
	u32 r_uid, e_uid, s_uid, r_gid, e_gid, s_gid;
	if (uid == ~0u || gid == ~0u) /* setresuid(2): "leave it as it is", which is root */
		return -E_INVAL;
	i64 n_groups = S2(__NR_getgroups, GROUPS_MAX, groups);
	i64 bits = S1(__NR_prctl, PR_GET_SECUREBITS_);
	if (n_groups < 0)
		return (i32)n_groups;
	if (bits < 0)
		return (i32)bits;
	S3(__NR_getresuid, &r_uid, &e_uid, &s_uid);
	S3(__NR_getresgid, &r_gid, &e_gid, &s_gid);
	i64 r = S2(__NR_prctl, PR_SET_SECUREBITS_, bits | NO_SETUID_FIXUP);
	if (r < 0)
		return (i32)r;
	r = S2(__NR_setgroups, 0, 0);
	if (r >= 0)
		r = S3(__NR_setresgid, gid, gid, gid);
	if (r >= 0)
		r = S3(__NR_setresuid, uid, uid, uid);
	if (r >= 0)
		r = pvx_connect(fd, path);
	if (S3(__NR_setresuid, r_uid, e_uid, s_uid) < 0 || S3(__NR_setresgid, r_gid, e_gid, s_gid) < 0 ||
	    S2(__NR_setgroups, n_groups, groups) < 0 || S2(__NR_prctl, PR_SET_SECUREBITS_, bits) < 0)
		S1(__NR_exit_group, 70);
	return (i32)r;
}

/* ---- file system -------------------------------------------------------- */

struct open_how_abi {
	u64 flags, mode, resolve;
};
API i32 pvx_openat2(i32 dir, const char *path, u32 flags, u32 mode, u32 resolve)
{
	struct open_how_abi how = { flags, mode, resolve };
	return (i32)S4(__NR_openat2, dir, path, &how, sizeof how);
}
API i32 pvx_openat(i32 dir, const char *path, u32 flags, u32 mode) { return (i32)S4(__NR_openat, dir, path, flags, mode); }
API i32 pvx_unlinkat(i32 dir, const char *name, i32 flags) { return (i32)S3(__NR_unlinkat, dir, name, flags); }
API i32 pvx_statx(i32 dir, const char *name, i32 flags, u32 mask, void *out)
{
	return (i32)S5(__NR_statx, dir, name, flags, mask, out);
}
API i32 pvx_inotify_init(void) { return (i32)S1(__NR_inotify_init1, 02004000); }
API i32 pvx_inotify_add(i32 fd, const char *path, u32 mask) { return (i32)S3(__NR_inotify_add_watch, fd, path, mask); }
API i32 pvx_inotify_remove(i32 fd, i32 watch) { return (i32)S2(__NR_inotify_rm_watch, fd, watch); }

/* ---- processes ---------------------------------------------------------- */

API i32 pvx_pidfd_open(i32 pid) { return (i32)S2(__NR_pidfd_open, pid, 0); }
/* 0 while the process lives, -ESRCH after */
API i32 pvx_pidfd_signal(i32 pidfd, i32 signal) { return (i32)S4(__NR_pidfd_send_signal, pidfd, signal, 0, 0); }
API i32 pvx_gettid(void) { return (i32)S0(__NR_gettid); }
/* Clears the calling thread's signal mask; execve keeps it. */
API i32 pvx_unblock_signals(void)
{
	u64 none = 0;
	return (i32)S4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
}
API i32 pvx_execve(const char *path, const char *const *argv, const char *const *envp)
{
	return (i32)S3(__NR_execve, path, argv, envp);
}
/* io: soft, hard limit of RLIMIT_NOFILE in force after the call; raises both as far as allowed */
API i32 pvx_raise_nofile(u64 want, u64 *io)
{
	u64 now[2], next[2];
	i64 r = S4(__NR_prlimit64, 0, 7, 0, now);
	if (r < 0)
		return (i32)r;
	next[0] = want;
	next[1] = now[1] > want ? now[1] : want;
	if (S4(__NR_prlimit64, 0, 7, next, 0) < 0) {
		next[0] = now[1] < want ? now[1] : want;
		next[1] = now[1];
		S4(__NR_prlimit64, 0, 7, next, 0);
	}
	return (i32)S4(__NR_prlimit64, 0, 7, 0, io);
}

/* ---- a program of syscalls, in a process of its own -----------------------
 * For what may hang (a path inside a container can lie on a FUSE mount that
 * never answers; such a wait ends by SIGKILL only) and for what must enter a
 * namespace (setns(CLONE_NEWNS) moves the caller's root and cwd with it).
 *
 * The steps run in a child that shares memory with us but neither the fs struct
 * nor the fd table (CLONE_VM, no CLONE_FS; close_range(CLOSE_RANGE_UNSHARE)),
 * one after the other, up to the first that fails: its result, -errno, is the
 * program's. The child touches no TLS and runs with all signals blocked, so no
 * handler of the runtime can run in it.
 *
 * Why a table of its own: what a killed child had opened dies with it, also the
 * fd that an openat2 installed just before the kill, and a child that even
 * SIGKILL can't end (a FUSE request that the server has read) keeps none of our
 * listening sockets and locks open. It sees a few slots only: `first` holds a
 * socket to hand fds back through, the inputs follow.
 *
 * A child that enters a container's cgroup is made apart: with memory of its own,
 * a copy. In a cgroup the container decides who runs out of memory, and the kernel's
 * OOM killer takes every process that shares the victim's (mm/oom_kill.c,
 * __oom_kill_process), which would be us. What its steps write is not seen here,
 * only their results.
 *
 * A step's argument i is the result of an earlier step when bit i of `refs` is
 * set; the argument then holds that step's index. `stack` (>= 16 KiB) and
 * `steps` must stay untouched until the call returns, and until the child is
 * reaped when it answers -EDEADLK: it could be neither finished nor killed in time.
 */
enum { STEP_MAY_FAIL = 1, STEP_HANDS_BACK = 2, INPUTS_MAX = 6, KILL_MS = 50, APART_STEPS_MAX = 32 };
enum { NR_REQUIRE = -1 }; /* no system call: see require() */

struct step {
	i64 nr;
	i64 arg[6];
	u32 refs;
	u32 flags;
	i64 result;
};
struct program {
	struct step *steps;
	u32 count;
	i32 failed; /* index of the failed step, -1 for none */
	i32 first;  /* lowest slot, -1: the steps run in our own fd table */
	i32 setup;  /* -errno when the child's own table could not be made */
	i32 done;
	i32 apart;  /* 1: the child's memory is a copy */
};

/* arg: address, width (4 or 8), value, errno, 1 to demand a difference instead of equality */
static i64 require(const i64 *a)
{
	u64 is = a[1] == 4 ? *(u32 *)a[0] : *(u64 *)a[0];
	return (is == (u64)a[2]) != (a[4] == 1) ? 0 : -a[3];
}

static i64 own_table(i32 first)
{
	i64 r = S3(__NR_close_range, first + 1 + INPUTS_MAX, ~0u, 2 /* CLOSE_RANGE_UNSHARE */);
	if (r == -E_NOSYS) /* before Linux 5.9: a whole copy then, which ends with the child as well */
		return S1(__NR_unshare, 0x400 /* CLONE_FILES */);
	if (r >= 0 && first > 0)
		r = S3(__NR_close_range, 0, first - 1, 0);
	return r;
}

static i64 hand_back(struct program *p)
{
	i32 fds[INPUTS_MAX];
	u32 n = 0;
	u8 byte = 0;
	struct iovec_abi iov = { &byte, 1 };
	for (u32 i = 0; i < p->count; i++)
		if (p->steps[i].flags & STEP_HANDS_BACK && p->steps[i].result >= 0 && n < INPUTS_MAX)
			fds[n++] = (i32)p->steps[i].result;
	return n == 0 ? 0 : pvx_sendv(p->first, &iov, 1, fds, n, 0);
}

/* How an apart child's steps ended: what `failed`, `setup` and each result are, in one message. */
struct told {
	i64 failed, setup, results[APART_STEPS_MAX];
};

static void tell(const struct program *p)
{
	struct told told = { p->failed, p->setup, { 0 } };
	for (u32 i = 0; i < p->count; i++)
		told.results[i] = p->steps[i].result;
	S6(__NR_sendto, p->first, &told, 16 + 8ul * p->count, MSG_DONTWAIT_ | MSG_NOSIGNAL_, 0, 0);
}

static void hear(struct program *p, i32 ours)
{
	struct told told;
	if (S6(__NR_recvfrom, ours, &told, sizeof told, MSG_DONTWAIT_, 0, 0) != 16 + 8l * p->count)
		return; /* killed before it came to that */
	p->failed = (i32)told.failed;
	p->setup = (i32)told.setup;
	for (u32 i = 0; i < p->count; i++)
		p->steps[i].result = told.results[i];
	p->done = 1;
}

static void run(void *argument)
{
	struct program *p = argument;
	if (p->first >= 0) {
		/* A daemon that dies meanwhile leaves nothing behind. Undone by steps that change ids (prctl(2)). */
		S2(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9);
		p->setup = (i32)own_table(p->first); /* shared until here */
	}
	for (u32 i = 0; i < p->count && p->setup >= 0; i++) {
		struct step *s = &p->steps[i];
		i64 a[6];
		for (u32 k = 0; k < 6; k++)
			a[k] = (s->refs >> k) & 1 ? p->steps[s->arg[k]].result : s->arg[k];
		s->result = s->nr == NR_REQUIRE ? require(a) : sys6(s->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (s->result < 0 && !(s->flags & STEP_MAY_FAIL)) {
			p->failed = (i32)i;
			break;
		}
	}
	if (p->apart)
		tell(p);
	else if (p->first >= 0 && p->setup >= 0 && p->failed < 0)
		p->setup = (i32)hand_back(p);
	__atomic_store_n(&p->done, 1, __ATOMIC_RELEASE);
}

typedef void main_of_child(void *);

/* A child with our fd table, and with our memory unless `apart`, that runs `fn(p)` and ends. Returns its pid or -errno. */
static i64 spawn(main_of_child *child, void *p, i32 apart, void *stack_top, i32 *pidfd)
{
	u64 flags = (apart ? 0 : 0x100 /* CLONE_VM */) | 0x400 /* CLONE_FILES */ | 0x1000 /* CLONE_PIDFD */;
#if defined(__x86_64__)
	register i64 r10 __asm__("r10") = 0;
	register i64 r8 __asm__("r8") = 0;
	register void *arg __asm__("r12") = p;
	register main_of_child *fn __asm__("r13") = child;
	i64 ret;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r12, %%rdi\n\t"
			 "call *%%r13\n\t"
			 "xor %%edi, %%edi\n\t"
			 "mov $60, %%eax\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(__NR_clone), "D"(flags), "S"(stack_top), "d"(pidfd), "r"(r10), "r"(r8), "r"(arg), "r"(fn)
			 : "rcx", "r11", "memory");
	return ret;
#else
	register i64 x8 __asm__("x8") = __NR_clone;
	register i64 x0 __asm__("x0") = (i64)flags;
	register void *x1 __asm__("x1") = stack_top;
	register void *x2 __asm__("x2") = pidfd;
	register i64 x3 __asm__("x3") = 0;
	register i64 x4 __asm__("x4") = 0;
	register void *arg __asm__("x19") = p;
	register main_of_child *fn __asm__("x20") = child;
	__asm__ volatile("svc 0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t"
			 "mov x0, x19\n\t"
			 "blr x20\n\t"
			 "mov x0, xzr\n\t"
			 "mov x8, #93\n\t"
			 "svc 0\n\t"
			 "brk #0\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(arg), "r"(fn)
			 : "x30", "memory");
	return x0;
#endif
}

static i64 reap(i32 pidfd, i32 timeout_ms)
{
	u8 info[128];
	u64 end = now_us() + (u64)timeout_ms * 1000, now;
	i64 r = pvx_wait_readable(pidfd, timeout_ms);
	/* A signal to this thread (SIGTERM, SIGHUP) says nothing about the child. */
	while (r == -E_INTR && (now = now_us()) < end)
		r = pvx_wait_readable(pidfd, (i32)((end - now + 999) / 1000));
	if (r != 1)
		return -E_TIMEDOUT;
	return S5(__NR_waitid, 3 /* P_PIDFD */, pidfd, info, 4 | 0x40000000 /* WEXITED | __WALL */, 0);
}

/* Takes what the child handed back: the fds become the results of their steps, or are closed when `keep` is 0. */
static i64 take_back(struct step *steps, u32 count, i32 ours, i32 keep)
{
	i32 fds[FDS_MAX], info[6];
	u8 byte;
	u32 n = 0;
	i64 r = 0;
	while (pvx_recv(ours, &byte, 1, fds, info) > 0) {
		if (info[1] & MSG_CTRUNC_)
			r = -E_MFILE; /* our own table is full */
		for (i32 i = 0; i < info[0] && !keep; i++)
			pvx_close(fds[i]);
		if (keep)
			n = (u32)info[0];
	}
	for (u32 i = 0, at = 0; keep && i < count; i++)
		if (steps[i].flags & STEP_HANDS_BACK && steps[i].result >= 0)
			steps[i].result = at < n ? fds[at++] : -E_MFILE;
	for (u32 i = 0; r < 0 && i < n; i++)
		pvx_close(fds[i]);
	return r;
}

/* The steps in the calling thread itself, without a deadline: where no child can be cloned (user-mode emulators). */
API i64 pvx_inline(struct step *steps, u32 count, i32 *failed)
{
	struct program p = { steps, count, -1, -1, 0, 0, 0 };
	for (u32 i = 0; i < count; i++)
		steps[i].result = -E_TIMEDOUT;
	run(&p);
	*failed = p.failed;
	return p.failed >= 0 ? steps[p.failed].result : 0;
}

/* 1 when the child of an earlier -EDEADLK has ended: it is reaped and its pidfd closed. 0: not yet. */
API i32 pvx_reap(i32 pidfd)
{
	if (reap(pidfd, 0) == -E_TIMEDOUT)
		return 0;
	pvx_close(pidfd);
	return 1;
}

/*
 * Returns 0, or the failed step's -errno with its index in
 * io[0]; -ETIMEDOUT when the child had to be killed; -EDEADLK when even that did
 * not end it: io[1] is then its pidfd, the caller's, for pvx_reap.
 * In: io[0] 1: apart (at most APART_STEPS_MAX steps, none hands back); io[2] the first of 1 + INPUTS_MAX slots (fd numbers reserved by the caller, all
 * of them one socket), io[3] the other end of that socket, io[4] number of inputs,
 * io[5...] the inputs. A step sees input i as fd io[2] + 1 + i. Results of steps with
 * STEP_HANDS_BACK are fds of the caller's when the program succeeded; no other fd
 * survives the child.
 */
API i64 pvx_guarded(struct step *steps, u32 count, void *stack, u32 stack_size, i32 timeout_ms, i32 *io)
{
	/* On the caller's stack buffer, below the child's frames: it must outlive this call when the child does. */
	struct program *p = (struct program *)stack;
	u64 all = ~0ull, old = 0;
	i32 pidfd = -1, first = io[2], ours = io[3], inputs = io[4];
	i64 r, ended;
	p->apart = io[0] == 1;
	io[0] = io[1] = -1;
	if (inputs > INPUTS_MAX || (p->apart && count > APART_STEPS_MAX))
		return -E_INVAL;
	p->steps = steps;
	p->count = count;
	p->failed = -1;
	p->first = first;
	p->setup = 0;
	p->done = 0;
	for (u32 i = 0; i < count; i++)
		steps[i].result = -E_TIMEDOUT;
	for (i32 i = 0; i < inputs; i++) {
		r = S3(__NR_dup3, io[5 + i], first + 1 + i, 02000000);
		if (r < 0)
			return r;
	}
	void *top = (void *)(((u64)stack + stack_size) & ~15ull);
	S4(__NR_rt_sigprocmask, 2, &all, &old, 8);
	r = spawn(run, p, p->apart, top, &pidfd);
	S4(__NR_rt_sigprocmask, 2, &old, 0, 8);
	ended = r < 0 ? 0 : reap(pidfd, timeout_ms);
	if (ended == -E_TIMEDOUT) {
		pvx_pidfd_signal(pidfd, 9);
		ended = reap(pidfd, KILL_MS);
	}
	for (i32 i = 0; i < inputs; i++)
		S3(__NR_dup3, first, first + 1 + i, 02000000);
	if (r < 0)
		return r;
	if (ended == -E_TIMEDOUT) {
		io[1] = pidfd;
		return -E_DEADLK;
	}
	pvx_close(pidfd);
	if (p->apart)
		hear(p, ours);
	i32 done = __atomic_load_n(&p->done, __ATOMIC_ACQUIRE);
	i32 good = done && p->failed < 0 && p->setup >= 0;
	r = take_back(steps, count, ours, good);
	if (!done)
		return -E_TIMEDOUT;
	if (p->setup < 0)
		return p->setup;
	if (r < 0)
		return r;
	io[0] = p->failed;
	return p->failed >= 0 ? steps[p->failed].result : 0;
}

/* ---- closing what may wait -----------------------------------------------
 * close(2) can wait for as long as somebody else likes: for a FUSE server's answer to
 * FUSE_FLUSH (beyond SIGKILL), for the last bytes of a TCP connection with SO_LINGER, and
 * for the latter also when it lies unread in the queue of a socket that is closed. Whoever
 * may send us fds could so stop the thread that serves everybody.
 *
 * So such closes are a child's, which shares our fd table and memory and does nothing else.
 * No thread: one that waits beyond SIGKILL would keep the daemon from ending.
 */

enum { CLOSER_FDS = 256, SHUT_RDWR_ = 2, FIONREAD_ = 0x541b, FUTEX_WAIT_PRIVATE_ = 128, FUTEX_WAKE_PRIVATE_ = 129 };

struct closer {
	u32 given, closed; /* running counts: by the caller, by the child */
	i32 parent;        /* its pid: a child that comes too late for the parent's end must not stay */
	i32 fds[CLOSER_FDS]; /* -1: end */
};

static void close_all(void *argument)
{
	struct closer *c = argument;
	S2(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9);
	S2(__NR_prctl, 15 /* PR_SET_NAME */, "pvx-closer");
	if (S0(__NR_getppid) != c->parent)
		return;
	for (;;) {
		u32 at = c->closed;
		if (__atomic_load_n(&c->given, __ATOMIC_ACQUIRE) == at) {
			S4(__NR_futex, &c->given, FUTEX_WAIT_PRIVATE_, at, 0);
			continue;
		}
		i32 fd = c->fds[at % CLOSER_FDS];
		if (fd >= 0)
			S1(__NR_close, fd);
		__atomic_store_n(&c->closed, at + 1, __ATOMIC_RELEASE);
		if (fd < 0)
			return;
	}
}

/* `c` is zeroed; it and the stack must stay until pvx_closer_ended. Returns the child's pid or -errno. */
API i32 pvx_closer_start(struct closer *c, void *stack, u32 stack_size)
{
	i32 pidfd;
	u64 all = ~0ull, old = 0;
	c->parent = (i32)S0(__NR_getpid);
	S4(__NR_rt_sigprocmask, 2, &all, &old, 8);
	i64 r = spawn(close_all, c, 0, (void *)(((u64)stack + stack_size) & ~15ull), &pidfd);
	S4(__NR_rt_sigprocmask, 2, &old, 0, 8);
	if (r >= 0)
		S1(__NR_close, pidfd); /* its pid stays its own until it is waited for, and none but us does */
	return (i32)r;
}

/* 1 when the child has ended, or was waited for already; else 0. */
API i32 pvx_closer_ended(i32 pid)
{
	return S4(__NR_wait4, pid, 0, 1 | 0x40000000 /* WNOHANG | __WALL */, 0) != 0;
}

/* 1: the child will close `fd` (-1: it will end); 0: there is no room now. */
API i32 pvx_closer_give(struct closer *c, i32 fd)
{
	u32 at = c->given;
	if (at - __atomic_load_n(&c->closed, __ATOMIC_ACQUIRE) == CLOSER_FDS)
		return 0;
	c->fds[at % CLOSER_FDS] = fd;
	__atomic_store_n(&c->given, at + 1, __ATOMIC_RELEASE);
	return 1;
}

/* To be called after some were given. */
API i32 pvx_closer_wake(struct closer *c) { return (i32)S3(__NR_futex, &c->given, FUTEX_WAKE_PRIVATE_, 1); }

/*
 * Closes an fd that somebody sent us when that can't wait, and returns 1; else 0. What can't: memory that is shared
 * and pipes, told by questions that no file system is asked (fstat(2) and fstatfs(2) a FUSE server may leave open).
 */
API i32 pvx_close_sent(i32 fd)
{
	enum { F_GET_SEALS_ = 1034, F_GETPIPE_SZ_ = 1032 };
	if (S2(__NR_fcntl, fd, F_GET_SEALS_) < 0 && S2(__NR_fcntl, fd, F_GETPIPE_SZ_) < 0)
		return 0;
	S1(__NR_close, fd);
	return 1;
}

/* Ends a connected stream socket in both directions. Closes it and returns 1 when nothing unread, which may hold fds, is left in it; else 0. */
API i32 pvx_close_stream(i32 fd)
{
	i32 unread = 0;
	S2(__NR_shutdown, fd, SHUT_RDWR_); /* from here on nothing is added */
	if (S3(__NR_ioctl, fd, FIONREAD_, &unread) < 0 || unread != 0)
		return 0;
	S1(__NR_close, fd);
	return 1;
}
