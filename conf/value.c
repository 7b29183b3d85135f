/* Checking and storing one value by its schema row: see value.h. One setter for each type, in a table. */
#include "conf/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/units.h"

struct setting { /* what a setter works on */
	const struct key *k;
	const struct value *v;
	const char *folder;
	char *base;
	char *reason;
};

static int fault(const struct setting *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fault(const struct setting *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->reason, REASON_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* What was written, for a message: "fast" with quotes, numbers without. */
static const char *shown(const struct value *v, char buf[80])
{
	if (v->kind == V_TEXT)
		snprintf(buf, 80, "\"%.60s%s\"", v->s, strlen(v->s) > 60 ? "..." : "");
	else if (v->kind == V_BOOL)
		snprintf(buf, 80, "%s", v->i ? "true" : "false");
	else if (v->kind == V_REAL)
		snprintf(buf, 80, "%g", v->d);
	else
		snprintf(buf, 80, "%lld", v->i);
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return buf;
}

static int not_a(const struct setting *s)
{
	char what[80], range[96];

	schema_range_text(s->k, range, sizeof(range));
	return fault(s, "%s is not %s%s%s", shown(s->v, what), schema_type_text(s->k->type),
		*range ? "; allowed: " : "", range);
}

static void put(const struct setting *s, uint64_t v)
{
	void *dst = s->base + s->k->off;

	switch (s->k->size) {
	case 1:
		*(bool *)dst = v != 0;
		break;
	case 2:
		*(uint16_t *)dst = (uint16_t)v;
		break;
	case 4:
		*(uint32_t *)dst = (uint32_t)v;
		break;
	default:
		*(uint64_t *)dst = v;
	}
}

/* The row's special word ("unlimited")? */
static bool put_word(const struct setting *s)
{
	if (!s->k->word || s->v->kind != V_TEXT || strcmp(s->v->s, s->k->word) != 0)
		return false;
	put(s, s->k->word_value);
	return true;
}

static int put_ranged(const struct setting *s, uint64_t v)
{
	char what[80], range[96];

	if ((s->k->min || s->k->max) && (v < s->k->min || v > s->k->max)) {
		schema_range_text(s->k, range, sizeof(range));
		return fault(s, "%s is out of range; allowed: %s", shown(s->v, what), range);
	}
	if ((s->k->flags & KF_MEMSTEP) && v % MEM_STEP)
		return fault(s, "%s is not a multiple of 2M", shown(s->v, what));
	put(s, v);
	return 0;
}

static int set_uint(const struct setting *s)
{
	char what[80], range[96];

	if (put_word(s))
		return 0;
	if (s->v->kind != V_INT)
		return not_a(s);
	if (s->v->i < 0) {
		schema_range_text(s->k, range, sizeof(range));
		return fault(s, "%s is out of range; allowed: %s", shown(s->v, what), range);
	}
	return put_ranged(s, (uint64_t)s->v->i);
}

static int set_real(const struct setting *s)
{
	double d = s->v->kind == V_INT ? (double)s->v->i : s->v->d;
	char what[80];

	if (s->v->kind != V_INT && s->v->kind != V_REAL)
		return not_a(s);
	if (!(d >= (double)s->k->min && d <= (double)s->k->max))
		return fault(s, "%s is out of range; allowed: %llu..%llu", shown(s->v, what),
			(unsigned long long)s->k->min, (unsigned long long)s->k->max);
	*(double *)(s->base + s->k->off) = d;
	return 0;
}

static int set_bool(const struct setting *s)
{
	if (s->v->kind != V_BOOL)
		return not_a(s);
	put(s, (uint64_t)s->v->i);
	return 0;
}

static int set_seconds(const struct setting *s)
{
	uint64_t ms;
	char what[80];

	if (s->v->kind != V_TEXT)
		return set_uint(s);
	if (put_word(s))
		return 0;
	if (duration_parse(s->v->s, &ms))
		return not_a(s);
	if (ms % 1000)
		return fault(s, "%s is not a whole number of seconds", shown(s->v, what));
	return put_ranged(s, ms / 1000);
}

static int set_ms(const struct setting *s)
{
	uint64_t ms;

	if (put_word(s))
		return 0;
	if (s->v->kind == V_INT)
		return fault(s, "%lld has no unit; write \"%lldms\" or \"%llds\"", s->v->i, s->v->i, s->v->i);
	if (s->v->kind != V_TEXT || duration_parse(s->v->s, &ms))
		return not_a(s);
	return put_ranged(s, ms);
}

static int set_size(const struct setting *s)
{
	uint64_t bytes;

	if (put_word(s))
		return 0;
	if (s->v->kind == V_INT && s->v->i >= 0)
		return put_ranged(s, (uint64_t)s->v->i);
	if (s->v->kind != V_TEXT || size_parse(s->v->s, &bytes))
		return not_a(s);
	return put_ranged(s, bytes);
}

static int set_ports(const struct setting *s)
{
	uint16_t first, last;

	if (s->v->kind != V_TEXT || ports_parse(s->v->s, &first, &last))
		return not_a(s);
	*(uint16_t *)(s->base + s->k->off) = first;
	*(uint16_t *)(s->base + s->k->off2) = last;
	return 0;
}

static int set_tod(const struct setting *s)
{
	unsigned minutes;

	if (s->v->kind != V_TEXT || tod_parse(s->v->s, &minutes))
		return not_a(s);
	put(s, minutes);
	return 0;
}

static int set_days(const struct setting *s)
{
	unsigned bits;

	if (s->v->kind != V_TEXT || days_parse(s->v->s, &bits))
		return not_a(s);
	put(s, bits);
	return 0;
}

static int set_zone(const struct setting *s)
{
	if (s->v->kind != V_TEXT)
		return not_a(s);
	return zone_load(s->v->s, (struct zone *)(s->base + s->k->off), s->reason, REASON_MAX);
}

static int set_word(const struct setting *s)
{
	if (s->v->kind == V_TEXT) {
		for (unsigned i = 0; s->k->words[i]; i++) {
			if (strcmp(s->k->words[i], s->v->s) == 0) {
				put(s, i);
				return 0;
			}
		}
	}
	return not_a(s);
}

static int set_text(const struct setting *s)
{
	size_t n;

	if (s->v->kind != V_TEXT)
		return not_a(s);
	n = strlen(s->v->s);
	if (n >= s->k->size)
		return fault(s, "too long; at most %zu characters", s->k->size - 1);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s->v->s[i] < 32 || s->v->s[i] == 127)
			return fault(s, "control characters are not allowed");
	if (!utf8_valid(s->v->s))
		return fault(s, "is not UTF-8 text");
	memcpy(s->base + s->k->off, s->v->s, n + 1);
	return 0;
}

static int set_name(const struct setting *s)
{
	char what[80];

	if (s->v->kind == V_TEXT && strlen(s->v->s) < s->k->size && !name_valid(s->v->s))
		return fault(s, "%s is not a name; letters, digits, '.', '_' and '-', not '.', '_' or '-' first",
			shown(s->v, what));
	return set_text(s);
}

static bool is_host_name(const char *p)
{
	if (strspn(p, "0123456789.") == strlen(p) || !isalnum((unsigned char)*p))
		return false;
	return strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == strlen(p);
}

/* "[fd00::1]:8101", "10.0.0.1:8101" -> the address alone, and ":8101" or "" in *@port. */
static bool split_address(const char *text, char host[80], const char **port)
{
	const char *colon = strchr(text, ':'), *end = NULL;

	*port = "";
	if (*text == '[') {
		end = strchr(++text, ']');
		if (!end)
			return false;
		*port = end + 1;
	} else if (colon && !strchr(colon + 1, ':')) {
		end = *port = colon;
	}
	snprintf(host, 80, "%.*s", end ? (int)(end - text) : 79, text);
	return (!end || end - text < 80) && (**port == 0 || **port == ':');
}

static int set_address_port(const struct setting *s, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || strspn(text, "0123456789") != strlen(text) || *end || n < 1 || n > UINT16_MAX)
		return not_a(s);
	if (!s->k->off2)
		return fault(s, "takes no port here; write it as the key port");
	*(uint16_t *)(s->base + s->k->off2) = (uint16_t)n;
	return 0;
}

/* An IPv6 address is kept as all the world writes it, for addresses are compared as text. */
static int set_address(const struct setting *s)
{
	const char *text = s->v->s, *port;
	bool bracketed = s->v->kind == V_TEXT && *text == '[';
	char host[80], canonical[INET6_ADDRSTRLEN];
	struct value v = {.kind = V_TEXT, .s = host};
	struct setting alone = *s;
	struct in6_addr a;
	int rc;

	if (s->v->kind != V_TEXT)
		return not_a(s);
	if (!*text)
		return s->k->def ? set_text(s) : not_a(s);
	if (!split_address(text, host, &port))
		return not_a(s);
	if (inet_pton(AF_INET6, host, &a) == 1)
		snprintf(host, sizeof(host), "%s", inet_ntop(AF_INET6, &a, canonical, sizeof(canonical)));
	else if (bracketed || (inet_pton(AF_INET, host, &a) != 1 && !is_host_name(host)))
		return not_a(s);
	alone.v = &v;
	rc = set_text(&alone);
	return rc || !*port ? rc : set_address_port(s, port + 1);
}

/* Hex digits with @sep at each place where @shape has one; stored in lower case. */
static int set_hex(const struct setting *s, const char *shape)
{
	char *dst = s->base + s->k->off;
	size_t n = strlen(shape);

	if (s->v->kind != V_TEXT || strlen(s->v->s) != n)
		return not_a(s);
	for (size_t i = 0; i < n; i++)
		if (shape[i] == 'x' ? !isxdigit((unsigned char)s->v->s[i]) : s->v->s[i] != shape[i])
			return not_a(s);
	for (size_t i = 0; i <= n; i++)
		dst[i] = (char)tolower((unsigned char)s->v->s[i]);
	return 0;
}

static int set_mac(const struct setting *s)
{
	unsigned first;

	if (s->v->kind == V_TEXT && sscanf(s->v->s, "%2x", &first) == 1 && (first & 1))
		return fault(s, "is a group address; the first byte must be even");
	return set_hex(s, "xx:xx:xx:xx:xx:xx");
}

static int set_uuid(const struct setting *s)
{
	return set_hex(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static int check_file(const struct setting *s, const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return fault(s, "%s: %s", path, strerror(errno));
	if (s->k->type == KEY_DIR && !S_ISDIR(st.st_mode))
		return fault(s, "%s is not a folder", path);
	if (s->k->type != KEY_DIR && !S_ISREG(st.st_mode))
		return fault(s, "%s is not a regular file", path);
	if (s->k->type == KEY_FILE && access(path, R_OK))
		return fault(s, "%s cannot be read: %s", path, strerror(errno));
	if (s->k->type == KEY_PROGRAM && access(path, X_OK))
		return fault(s, "%s is not executable; chmod +x it", path);
	return 0;
}

static int set_path(const struct setting *s)
{
	char path[SPEC_PATH_MAX];
	struct value abs = {.kind = V_TEXT, .s = path};
	struct setting whole = *s;
	int n;

	if (s->v->kind != V_TEXT)
		return not_a(s);
	if (!*s->v->s)
		return s->k->def && !*s->k->def ? set_text(s) : fault(s, "is empty");
	if (s->v->s[0] != '/' && !*s->folder)
		return fault(s, "\"%.200s\" is relative, and here is no folder to start from; write the whole path",
			s->v->s);
	n = snprintf(path, sizeof(path), "%s%s%s", s->v->s[0] == '/' ? "" : s->folder, s->v->s[0] == '/' ? "" : "/",
		s->v->s);
	if (n < 0 || (size_t)n >= sizeof(path))
		return fault(s, "too long; at most %d characters", SPEC_PATH_MAX - 1);
	if (s->k->type != KEY_PATH && check_file(s, path))
		return -EINVAL;
	whole.v = &abs;
	return set_text(&whole);
}

static int (*const setters[])(const struct setting *) = {
	[KEY_NAME] = set_name,
	[KEY_TEXT] = set_text,
	[KEY_ADDRESS] = set_address,
	[KEY_MAC] = set_mac,
	[KEY_UUID] = set_uuid,
	[KEY_PATH] = set_path,
	[KEY_FILE] = set_path,
	[KEY_DIR] = set_path,
	[KEY_PROGRAM] = set_path,
	[KEY_BOOL] = set_bool,
	[KEY_UINT] = set_uint,
	[KEY_REAL] = set_real,
	[KEY_SECONDS] = set_seconds,
	[KEY_MS] = set_ms,
	[KEY_SIZE] = set_size,
	[KEY_PORT] = set_uint,
	[KEY_PORTS] = set_ports,
	[KEY_TOD] = set_tod,
	[KEY_DAYS] = set_days,
	[KEY_ZONE] = set_zone,
	[KEY_WORD] = set_word,
};

int value_store(const struct key *k, const struct value *v, const char *folder, void *base, char reason[REASON_MAX])
{
	struct setting s = {.k = k, .v = v, .folder = folder, .base = base, .reason = reason};

	return setters[k->type](&s);
}

struct value value_of_text(const char *text)
{
	struct value v = {.kind = V_TEXT, .s = text};
	char *end;

	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return (struct value){.kind = V_BOOL, .i = text[0] == 't'};
	if (isdigit((unsigned char)*text)) {
		v.i = strtoll(text, &end, 10);
		if (!*end)
			v.kind = V_INT;
		else if ((v.d = strtod(text, &end)), !*end)
			v.kind = V_REAL;
	}
	return v;
}
