/* Time zones: see zone.h. The file's format is RFC 8536 (TZif), its last line a rule as POSIX writes it. Called by the reader; pure but for
 * zone_load. */
#include "conf/zone.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "/usr/share/zoneinfo"
#define FILE_MAX (128u << 10)    /* the largest known is 4 KiB */
#define KEEP_FROM_S 1420070400LL /* 2015: nothing older is ever asked for */
#define DAY_S 86400
#define HEADER 44u

/* ---- the rule ---- */

/* "CET" or "<+03>" */
static const char *skip_name(const char *p)
{
	const char *end = p;

	if (*p == '<') {
		end = strchr(p, '>');
		return end ? end + 1 : NULL;
	}
	while (isalpha((unsigned char)*end))
		end++;
	return end - p >= 3 ? end : NULL;
}

/* [+-]h[:m[:s]] */
static const char *read_time(const char *p, int32_t *out)
{
	int part[3] = {0}, sign = *p == '-' ? -1 : 1;

	p += *p == '-' || *p == '+';
	for (unsigned i = 0; i < 3; i++) {
		if (!isdigit((unsigned char)*p))
			return NULL;
		for (; isdigit((unsigned char)*p); p++) {
			part[i] = part[i] * 10 + (*p - '0');
			if (part[i] > 200)
				return NULL;
		}
		if (*p != ':')
			break;
		p++;
	}
	*out = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
	return p;
}

static const char *read_number(const char *p, int least, int most, int *out)
{
	int v = 0;

	if (!isdigit((unsigned char)*p))
		return NULL;
	for (; isdigit((unsigned char)*p) && v <= most; p++)
		v = v * 10 + (*p - '0');
	*out = v;
	return v >= least && v <= most ? p : NULL;
}

/* ",M3.5.0/2" */
static const char *read_date(const char *p, struct zone_date *d)
{
	*d = (struct zone_date){.at_s = 7200};
	if (*p++ != ',')
		return NULL;
	if (*p == 'M') {
		p = read_number(p + 1, 1, 12, &d->month);
		p = p && *p == '.' ? read_number(p + 1, 1, 5, &d->week) : NULL;
		p = p && *p == '.' ? read_number(p + 1, 0, 6, &d->day) : NULL;
	} else if (*p == 'J') {
		d->kind = ZONE_JULIAN;
		p = read_number(p + 1, 1, 365, &d->day);
	} else {
		d->kind = ZONE_DAY;
		p = read_number(p, 0, 365, &d->day);
	}
	return p && *p == '/' ? read_time(p + 1, &d->at_s) : p;
}

int zone_rule(const char *text, struct zone *out)
{
	struct zone_date begin = {0}, end = {0};
	int32_t std_s = 0, dst_s;
	const char *p = skip_name(text);

	p = p ? read_time(p, &std_s) : NULL;
	if (!p)
		return -EINVAL;
	dst_s = std_s - 3600;
	if (*p) {
		p = skip_name(p);
		if (p && *p && *p != ',')
			p = read_time(p, &dst_s);
		p = p ? read_date(p, &begin) : NULL;
		p = p ? read_date(p, &end) : NULL;
		if (!p || *p)
			return -EINVAL;
		out->saves = true;
	}
	out->ruled = true;
	out->std_s = -std_s; /* POSIX counts westward */
	out->dst_s = -dst_s;
	out->begin = begin;
	out->end = end;
	return 0;
}

/* Days since 1970 of the first of a month (1..12). */
static int64_t day_of(int64_t year, int month)
{
	int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t year_of(int64_t day)
{
	int64_t year = 1970 + (day >= 0 ? day : day - 365) / 366;

	while (day_of(year + 1, 1) <= day)
		year++;
	return year;
}

/* Of a year, in local seconds since 1970. */
static int64_t date_s(const struct zone_date *d, int64_t year)
{
	int64_t first = day_of(year, 1), day, month_end;
	bool leap = day_of(year + 1, 1) - first == 366;

	if (d->kind == ZONE_DAY) {
		day = first + d->day;
	} else if (d->kind == ZONE_JULIAN) {
		day = first + d->day - 1 + (leap && d->day >= 60);
	} else {
		first = day_of(year, d->month);
		month_end = d->month == 12 ? day_of(year + 1, 1) : day_of(year, d->month + 1);
		day = first + ((d->day - (first + 4)) % 7 + 7) % 7 +
			7 * (int64_t)(d->week - 1); /* 1970-01-01 was a Thursday */
		if (day >= month_end)
			day -= 7;
	}
	return day * DAY_S + d->at_s;
}

static int32_t by_rule(const struct zone *z, int64_t utc_s)
{
	int64_t local = utc_s + z->std_s, year, begin, end;
	bool in;

	if (!z->saves)
		return z->std_s;
	year = year_of(local >= 0 ? local / DAY_S : (local - DAY_S + 1) / DAY_S);
	begin = date_s(&z->begin, year) - z->std_s;
	end = date_s(&z->end, year) - z->dst_s;
	in = begin < end ? utc_s >= begin && utc_s < end : !(utc_s >= end && utc_s < begin);
	return in ? z->dst_s : z->std_s;
}

int32_t zone_offset_s(const struct zone *z, int64_t utc_s)
{
	unsigned i = z->n;

	if (z->ruled && (!z->n || utc_s >= z->changes[z->n - 1].at_s))
		return by_rule(z, utc_s);
	while (i > 0 && utc_s < z->changes[i - 1].at_s)
		i--;
	return i ? z->changes[i - 1].offset_s : z->first_s;
}

/* ---- the file ---- */

static int64_t big_endian(const unsigned char *p, unsigned n)
{
	uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return (int64_t)v;
}

struct block { /* one of the file's two: times of 4 bytes, then, since version 2, all again with times of 8 */
	const unsigned char *times, *types_of, *types;
	uint64_t n_times, n_types, length; /* length: of the whole block, with its header */
	unsigned time_bytes;
};

static int find_block(const unsigned char *p, size_t n, unsigned time_bytes, struct block *b)
{
	uint64_t count[6];

	if (n < HEADER || memcmp(p, "TZif", 4) != 0)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++)
		count[i] = (uint32_t)big_endian(p + 20 + 4 * i, 4);
	b->time_bytes = time_bytes;
	b->n_times = count[3];
	b->n_types = count[4];
	b->times = p + HEADER;
	b->length = HEADER + count[3] * (time_bytes + 1) + count[4] * 6 + count[5] + count[2] * (time_bytes + 4) +
		count[1] + count[0];
	if (b->length > n || !b->n_types || b->n_types > 256)
		return -EINVAL;
	b->types_of = b->times + b->n_times * time_bytes;
	b->types = b->types_of + b->n_times;
	return 0;
}

static int take_changes(const struct block *b, struct zone *z)
{
	z->first_s = (int32_t)big_endian(b->types, 4);
	for (uint64_t i = 0; i < b->n_times; i++) {
		int64_t at_s = big_endian(b->times + i * b->time_bytes, b->time_bytes);
		int32_t offset_s;

		if (b->types_of[i] >= b->n_types)
			return -EINVAL;
		offset_s = (int32_t)big_endian(b->types + 6u * b->types_of[i], 4);
		if (offset_s < -DAY_S || offset_s > DAY_S)
			return -EINVAL;
		if (at_s < KEEP_FROM_S)
			z->first_s = offset_s;
		else if (z->n < ZONE_CHANGES_MAX)
			z->changes[z->n++] = (struct zone_change){at_s, offset_s};
	}
	return z->first_s < -DAY_S || z->first_s > DAY_S ? -EINVAL : 0;
}

int zone_parse(const unsigned char *file, size_t n, struct zone *out)
{
	struct zone z = {0};
	struct block b;
	char rule[128];
	size_t at, end;

	if (find_block(file, n, 4, &b))
		return -EINVAL;
	at = b.length;
	if (file[4] >= '2' && find_block(file + at, n - at, 8, &b))
		return -EINVAL;
	if (take_changes(&b, &z))
		return -EINVAL;
	at += file[4] >= '2' ? b.length : 0;
	if (file[4] >= '2' && at < n && file[at] == '\n') {
		for (end = ++at; end < n && file[end] != '\n'; end++)
			;
		snprintf(rule, sizeof(rule), "%.*s", (int)(end - at < sizeof(rule) ? end - at : sizeof(rule)),
			(const char *)file + at);
		if (*rule && zone_rule(rule, &z))
			return -EINVAL;
	}
	*out = z;
	return 0;
}

/* ---- by name ---- */

static int fault(char *reason, size_t size, const char *name, const char *what)
{
	snprintf(reason, size, "\"%.60s\" %s", name, what);
	for (char *p = reason; *p; p++) /* it goes to terminals and into JSON */
		if ((unsigned char)*p < 32 || (unsigned char)*p >= 127)
			*p = '?';
	return -EINVAL;
}

static bool plausible(const char *name)
{
	return isalpha((unsigned char)*name) && strlen(name) < ZONE_NAME && !strstr(name, "..") &&
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+-.") == strlen(name);
}

int zone_load(const char *name, struct zone *out, char *reason, size_t reason_size)
{
	const char *folder = getenv("TZDIR");
	struct zone z = {.ruled = true};
	unsigned char *file;
	char path[512];
	size_t n = 0;
	FILE *f;

	if (!plausible(name))
		return fault(reason, reason_size, name,
			"is not the name of a time zone; write it like \"Europe/Berlin\" or \"UTC\"");
	snprintf(path, sizeof(path), "%.400s/%s", folder && *folder == '/' ? folder : FOLDER, name);
	f = fopen(path, "re");
	file = malloc(FILE_MAX);
	if (f && file)
		n = fread(file, 1, FILE_MAX, f);
	if (f)
		fclose(f);
	if (!n && strcmp(name, "UTC") != 0) { /* which needs no file */
		free(file);
		snprintf(reason, reason_size,
			"this host knows no time zone \"%s\" (%s); write it like \"Europe/Berlin\", or install the package tzdata",
			name, path);
		return -EINVAL;
	}
	if (n && zone_parse(file, n, &z)) {
		free(file);
		return fault(reason, reason_size, name, "is not a time zone file");
	}
	free(file);
	snprintf(z.name, sizeof(z.name), "%s", name);
	*out = z;
	return 0;
}
