/* Sizes, durations, ports, times of day and days as text: see conf.h and units.h. Called by the reader and by policyctl. */
#include "conf/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "conf/conf.h"

struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit size_units[] = {{"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30},
	{"T", 1ULL << 40}, {"P", 1ULL << 50}, {"E", 1ULL << 60}, {NULL, 0}};
static const struct unit time_units[] = {
	{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0}};

/* Digits, at most one point, then a unit of the table; exact in integers: "1.5G". */
static int unit_parse(const char *text, const struct unit *units, uint64_t *out)
{
	uint64_t whole = 0, frac = 0, scale = 1;
	const char *p = text;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(whole, 10u, &whole) ||
			__builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return -EINVAL;
	if (*p == '.') {
		if (!isdigit((unsigned char)p[1]))
			return -EINVAL;
		for (p++; isdigit((unsigned char)*p); p++) {
			if (scale >= 1000000)
				return -EINVAL;
			frac = frac * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
	}
	for (; units->name; units++) {
		if (strcasecmp(p, units->name) != 0)
			continue;
		if (__builtin_mul_overflow(whole, units->factor, &whole))
			return -EINVAL;
		if (scale > 1 && units->factor == 1)
			return -EINVAL;
		if (__builtin_add_overflow(whole, (uint64_t)((__uint128_t)frac * units->factor / scale), &whole))
			return -EINVAL;
		*out = whole;
		return 0;
	}
	return -EINVAL;
}

int size_parse(const char *text, uint64_t *bytes_out)
{
	return unit_parse(text, size_units, bytes_out);
}

int duration_parse(const char *text, uint64_t *ms_out)
{
	return unit_parse(text, time_units, ms_out);
}

int cpu_parse(const char *text, unsigned *percent_out)
{
	static const struct unit hundredths[] = {{"", 100}, {NULL, 0}};
	const char *point = strchr(text, '.');
	uint64_t n;

	if ((point && strlen(point) > 3) || unit_parse(text, hundredths, &n) || n > UINT32_MAX / 2)
		return -EINVAL;
	*percent_out = (unsigned)n;
	return 0;
}

void cpu_format(unsigned percent, char out[16])
{
	unsigned part = percent % 100;

	if (part % 10)
		snprintf(out, 16, "%u.%02u", percent / 100, part);
	else if (part)
		snprintf(out, 16, "%u.%u", percent / 100, part / 10);
	else
		snprintf(out, 16, "%u", percent / 100);
}

void size_format(uint64_t bytes, char out[16])
{
	static const char names[] = "\0KMGTPE";
	double v = (double)bytes;
	unsigned i = 0;

	while (i < 6 && v >= 999.5) {
		v /= 1024;
		i++;
	}
	snprintf(out, 16, "%.*f%.1s", i > 0 && v < 9.95 ? 1 : 0, v, names + i);
	if (i == 0)
		snprintf(out, 16, "%u", (unsigned)bytes);
}

static int number_parse(const char **p, unsigned max, unsigned *out)
{
	unsigned v = 0;

	if (!isdigit((unsigned char)**p))
		return -EINVAL;
	for (; isdigit((unsigned char)**p); (*p)++) {
		v = v * 10 + (unsigned)(**p - '0');
		if (v > max)
			return -EINVAL;
	}
	*out = v;
	return 0;
}

int ports_parse(const char *text, uint16_t *first_out, uint16_t *last_out)
{
	unsigned a, b;

	if (number_parse(&text, 65535, &a))
		return -EINVAL;
	b = a;
	if (*text == '-') {
		text++;
		if (number_parse(&text, 65535, &b))
			return -EINVAL;
	}
	if (*text || a == 0 || b < a)
		return -EINVAL;
	*first_out = (uint16_t)a;
	*last_out = (uint16_t)b;
	return 0;
}

int tod_parse(const char *text, unsigned *minutes_out)
{
	unsigned h, m;

	if (number_parse(&text, 24, &h) || *text++ != ':' || strlen(text) != 2 || number_parse(&text, 59, &m) || *text)
		return -EINVAL;
	if (h == 24 && m != 0)
		return -EINVAL;
	*minutes_out = (h * 60 + m) % 1440;
	return 0;
}

static int day_parse(const char **p, unsigned *out)
{
	static const char *const names[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

	for (unsigned i = 0; i < 7; i++) {
		if (strncasecmp(*p, names[i], 3) == 0) {
			*p += 3;
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

int days_parse(const char *text, unsigned *bits_out)
{
	unsigned a, b, bits = 0;

	for (;;) {
		if (day_parse(&text, &a))
			return -EINVAL;
		b = a;
		if (*text == '-') {
			text++;
			if (day_parse(&text, &b))
				return -EINVAL;
		}
		for (unsigned i = a;; i = (i + 1) % 7) {
			bits |= 1u << i;
			if (i == b)
				break;
		}
		if (!*text)
			break;
		if (*text++ != ',')
			return -EINVAL;
		while (*text == ' ')
			text++;
	}
	*bits_out = bits;
	return 0;
}

/* Bytes of the sequence at @p: 1..4, or 0 when it is none (overlong and surrogates are none). */
static unsigned utf8_sequence(const unsigned char *p)
{
	unsigned n = p[0] < 0x80              ? 1
		: p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		: p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		: p[0] >= 0xf0 && p[0] < 0xf5 ? 4
					      : 0;

	for (unsigned i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
		(p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

bool utf8_valid(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned n;

	for (; *p; p += n) {
		n = utf8_sequence(p);
		if (!n)
			return false;
	}
	return true;
}
