/*
 * The usual HTTP/1.1 head, found in one pass: what src/protocol/http reads byte by byte, for the heads
 * that leave no question open. Only a shortcut, and never the judge: "not usual" (0) sends the head through
 * the codec, which alone knows all rules and all reasons to refuse. What is found usual here means there
 * exactly the same; test/property/http holds the two against each other.
 *
 * Reads nothing outside of bytes[at, end), keeps no pointer and writes only to `scan`.
 * Which byte may stand where, and which names matter, comes from the codec's own tables.
 */
#include <linux/types.h>

typedef __s32 i32;
typedef __u32 u32;
typedef __u8 u8;

#define API __attribute__((visibility("default")))

/* Bits of `classes`. */
enum { TOKEN = 1, PATH = 2, QUERY = 4, HOST = 8, VALUE = 16 };
enum { LONGEST_SPECIAL = 22, LETTERS = 32 };

struct head_scan {
	u8 classes[256];
	/* By length of a name: the first letters (bit 0 is "@", 1 "a") of names that matter. */
	u32 letters[LETTERS];
	u32 fields_max;
	/* Out, offsets from the head's first byte. */
	u32 method_end, path_end, target_end, line_end;
	u32 status;
	/* The value of Content-Length; both 0: there is none. */
	u32 length_start, length_end;
};

static i32 is(const u8 *name, const char *small, u32 length)
{
	for (u32 i = 0; i < length; i++)
		if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]) != (u8)small[i])
			return 0;
	return 1;
}

/* Whether the codec may have something to say about this name. Some other names are among these: it then says nothing. */
static i32 matters(const struct head_scan *s, const u8 *name, u32 length)
{
	u32 first = name[0] | 0x20;
	/* x-pv- and x_pv_, in any letters */
	if (first == 'x' && length >= 5 && (name[2] | 0x20) == 'p' && (name[3] | 0x20) == 'v')
		return 1;
	return length <= LONGEST_SPECIAL && (s->letters[length] >> (first & 31) & 1);
}

static i32 host_is_plain(const struct head_scan *s, const u8 *from, const u8 *to)
{
	while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
		to--;
	for (; from < to; from++)
		if (!(s->classes[*from] & HOST))
			return 0;
	return 1;
}

/* The fields from p on, and the empty line. Returns what follows it, or 0. *hosts: how many Host there are. */
static const u8 *fields(struct head_scan *s, const u8 *start, const u8 *p, const u8 *stop, u32 *hosts)
{
	s->length_start = s->length_end = 0;
	for (u32 count = 0;; count++) {
		if (stop - p < 2)
			return 0;
		if (*p == '\r')
			return p[1] == '\n' ? p + 2 : 0;
		const u8 *name = p;
		while (p < stop && (s->classes[*p] & TOKEN))
			p++;
		u32 length = (u32)(p - name);
		if (p == stop || length == 0 || *p != ':' || count == s->fields_max)
			return 0;
		p++;
		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		const u8 *value = p;
		while (p < stop && (s->classes[*p] & VALUE))
			p++;
		if (stop - p < 2 || p[0] != '\r' || p[1] != '\n')
			return 0;
		if (matters(s, name, length)) {
			if (length == 4 && is(name, "host", 4) && host_is_plain(s, value, p))
				++*hosts;
			else if (length == 14 && s->length_end == 0 && is(name, "content-length", 14) && p > value && p[-1] != ' ') {
				s->length_start = (u32)(value - start);
				s->length_end = (u32)(p - start);
			} else
				return 0;
		}
		p += 2;
	}
}

/* The length of the request head that begins at bytes[at] and is whole before bytes[end]; 0: not usual. */
API i32 pvx_http_request(const u8 *bytes, u32 at, u32 end, struct head_scan *s)
{
	const u8 *start = bytes + at, *stop = bytes + end, *p = start;
	u32 hosts = 0;
	while (p < stop && (s->classes[*p] & TOKEN))
		p++;
	/* Origin-form only, and no escapes in the path. */
	if (p == start || stop - p < 2 || p[0] != ' ' || p[1] != '/')
		return 0;
	s->method_end = (u32)(p - start);
	p++;
	while (p < stop && (s->classes[*p] & PATH))
		p++;
	s->path_end = (u32)(p - start);
	if (p < stop && *p == '?')
		while (p < stop && (s->classes[*p] & QUERY))
			p++;
	s->target_end = (u32)(p - start);
	static const char version[] = " HTTP/1.1\r\n";
	for (u32 i = 0; i < sizeof version - 1; i++, p++)
		if (p == stop || *p != (u8)version[i])
			return 0;
	s->line_end = (u32)(p - start);
	p = fields(s, start, p, stop, &hosts);
	return p && hosts == 1 ? (i32)(p - start) : 0;
}

/* The same for the head of an answer with Content-Length, that is final and can have a body. */
API i32 pvx_http_response(const u8 *bytes, u32 at, u32 end, struct head_scan *s)
{
	const u8 *start = bytes + at, *stop = bytes + end, *p = start;
	u32 hosts = 0;
	static const char version[] = "HTTP/1.1 ";
	for (u32 i = 0; i < sizeof version - 1; i++, p++)
		if (p == stop || *p != (u8)version[i])
			return 0;
	s->status = 0;
	for (u32 i = 0; i < 3; i++, p++) {
		if (p == stop || *p < '0' || *p > '9')
			return 0;
		s->status = s->status * 10 + (*p - '0');
	}
	if (s->status < 200 || s->status > 599 || s->status == 204 || s->status == 304 || p == stop || *p != ' ')
		return 0;
	while (p < stop && (s->classes[*p] & VALUE))
		p++;
	if (stop - p < 2 || p[0] != '\r' || p[1] != '\n')
		return 0;
	p = fields(s, start, p + 2, stop, &hosts);
	return p && hosts == 0 && s->length_end > 0 ? (i32)(p - start) : 0;
}
